"""Many runs in one forward pass: every block once, with its own positions and sight."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_merge.contexts.attention_share import recording_shares
from lm_merge.contexts.blocks import Block, Run, in_order
from lm_merge.contexts.checks import check_packed, layer_windows
from lm_merge.models import HookedLM
from lm_merge.models.forward_pass import hidden_of
from lm_merge.spaces import Composed

LOGIT_BYTES = 2**28  # of the kept rows of one forward pass, in float32


@dataclass(frozen=True)
class Packed:
    """Blocks of several runs side by side in one row of tokens.

    columns: block -> column of its first token. sight: whether a token (row) sees another (column).
    """

    ids: Int[Tensor, " pos"]
    positions: Int[Tensor, " pos"]
    sight: Bool[Tensor, "pos pos"]
    columns: dict[Block, int]

    def rows(self, run: Run) -> Int[Tensor, " rows"]:
        """Columns that predict the run's tokens after the injection, and one more."""
        return torch.tensor([self.columns[block] + index for block, index in run.predictors()])


def pack(runs: Sequence[Run]) -> Packed:
    """Lay the blocks of runs out, each once, what a block sees before it."""
    blocks = in_order(one for run in runs for one in run.blocks)
    columns: dict[Block, int] = {}
    n = 0
    for block in blocks:
        columns[block] = n
        n += len(block.ids)
    sight = torch.zeros(n, n, dtype=torch.bool)
    for block in blocks:
        own = slice(columns[block], columns[block] + len(block.ids))
        sight[own, own] = torch.ones(len(block.ids), len(block.ids), dtype=torch.bool).tril()
        for seen in block.sees:
            sight[own, columns[seen] : columns[seen] + len(seen.ids)] = True
    positions = [block.start + index for block in blocks for index in range(len(block.ids))]
    ids = [token for block in blocks for token in block.ids]
    return Packed(torch.tensor(ids), torch.tensor(positions), sight, columns)


@dataclass(frozen=True)
class PackedBatch:
    """Packed rows of several items, padded at the right; a padding token sees itself alone."""

    parts: tuple[Packed, ...]
    ids: Int[Tensor, "batch pos"]
    positions: Int[Tensor, "batch pos"]
    sight: Bool[Tensor, "batch pos pos"]


def batch_of(parts: Sequence[Packed], pad_id: int = 0) -> PackedBatch:
    """Pad packed rows to one length."""
    n = max(len(part.ids) for part in parts)
    ids = torch.full((len(parts), n), pad_id)
    positions = torch.zeros(len(parts), n, dtype=torch.long)
    sight = torch.eye(n, dtype=torch.bool).repeat(len(parts), 1, 1)
    for row, part in enumerate(parts):
        length = len(part.ids)
        ids[row, :length], positions[row, :length] = part.ids, part.positions
        sight[row, :length, :length] = part.sight
    return PackedBatch(tuple(parts), ids, positions, sight)


def mask_for(model: Any, batch: PackedBatch, dtype: torch.dtype) -> Any:
    """The 4-D mask, added to scores; where kinds of attention differ by layer, one for each kind."""
    lowest = torch.finfo(dtype).min

    def added(sight: Tensor) -> Tensor:
        mask = torch.zeros(sight.shape, dtype=dtype).masked_fill(~sight, lowest)
        return mask.unsqueeze(1).to(model.device)

    windows = layer_windows(model.config)
    if not any(windows.values()):
        return added(batch.sight)
    distance = batch.positions.unsqueeze(2) - batch.positions.unsqueeze(1)
    masks = {
        kind: added(batch.sight if window is None else batch.sight & (distance < window))
        for kind, window in windows.items()
    }
    return masks if len(masks) > 1 else next(iter(masks.values()))


@dataclass(frozen=True)
class Rows:
    """What a run gives at the tokens that predict its text after the injection, and one more.

    states: resid_post of every block there, None unless asked for. attention: the share of attention on
    each block of the run, in the order of `Run.blocks`; shares sum to 1. None unless asked for.
    """

    logits: Float[Tensor, "rows d_vocab"]
    states: Float[Tensor, "n_layers rows d_model"] | None
    attention: Float[Tensor, "n_layers heads rows n_blocks"] | None = None


def packed_rows(
    system: Composed,
    items: Sequence[Sequence[Run]],
    *,
    states: bool = False,
    attention: bool = False,
    pad_id: int = 0,
) -> list[list[Rows]]:
    """Rows of every run of every item from one forward pass; equal to the cached form to rounding.

    states: also the residual stream of the host, merged where a merge of latents is at work. attention:
    also where the host's attention goes. No gradients. On the CPU, in the dtype of the model. Raises
    ValueError for what cannot be packed: `check_packed`, `recording_shares`.
    """
    check_packed(system, items)
    batch = batch_of([pack(runs) for runs in items], pad_id)
    host = system.host
    native: Any = host.require_native("packed scoring")
    wanted = [
        [part.rows(run) for run in runs] for part, runs in zip(batch.parts, items, strict=True)
    ]
    kept = torch.cat([rows for of_item in wanted for rows in of_item]).unique()
    found: dict[int, Tensor] = {}
    shares: dict[int, Tensor] = {}
    looking = (
        recording_shares(host, _indicators(batch), kept, shares) if attention else nullcontext()
    )
    recording = _recording(host if states else None, kept, found)
    with system.hooks(), torch.no_grad(), recording, looking:
        logits = native(
            input_ids=batch.ids.to(host.device),
            attention_mask=mask_for(native, batch, host.dtype),
            position_ids=batch.positions.to(host.device),
            use_cache=False,
            logits_to_keep=kept.to(host.device),
        ).logits.cpu()
    streams = torch.stack([found[layer] for layer in sorted(found)]) if found else None
    places = {int(column): place for place, column in enumerate(kept)}

    looked = torch.stack([shares[layer] for layer in sorted(shares)]) if shares else None

    def of_run(item: int, run: Run, columns: Tensor) -> Rows:
        chosen = [places[int(column)] for column in columns]
        order = list(batch.parts[item].columns)
        own = [order.index(block) for block in run.blocks]
        return Rows(
            logits[item, chosen],
            None if streams is None else streams[:, item, chosen],
            None if looked is None else looked[:, item][:, :, chosen][..., own],
        )

    return [
        [of_run(item, run, rows) for run, rows in zip(items[item], of_item, strict=True)]
        for item, of_item in enumerate(wanted)
    ]


def groups_within(
    items: Sequence[Sequence[Run]], d_vocab: int, n_bytes: int = LOGIT_BYTES
) -> Iterator[list[Sequence[Run]]]:
    """Items in order, in groups whose kept logits take `n_bytes` at most; one item at least.

    The rows that any item of a forward pass needs are computed for all of its items, so that a group's
    logits grow with the square of its size.
    """
    group: list[Sequence[Run]] = []
    columns: set[int] = set()
    for runs in items:
        packed = pack(runs)
        own = {int(column) for run in runs for column in packed.rows(run)}
        if group and (len(group) + 1) * len(columns | own) * d_vocab * 4 > n_bytes:
            yield group
            group, columns = [], set()
        group.append(runs)
        columns |= own
    if group:
        yield group


def packed_logits(
    system: Composed, items: Sequence[Sequence[Run]], *, pad_id: int = 0
) -> list[list[Float[Tensor, "rows d_vocab"]]]:
    """The logits of `packed_rows` alone."""
    rows = packed_rows(system, items, pad_id=pad_id)
    return [[one.logits for one in of_item] for of_item in rows]


def _indicators(batch: PackedBatch) -> Float[Tensor, "batch pos n_blocks"]:
    """1 where a token belongs to a block of its item, in the order of `Packed.columns`."""
    n_blocks = max(len(part.columns) for part in batch.parts)
    found = torch.zeros(*batch.ids.shape, n_blocks)
    for row, part in enumerate(batch.parts):
        for place, (block, column) in enumerate(part.columns.items()):
            found[row, column : column + len(block.ids), place] = 1
    return found


@contextmanager
def _recording(host: HookedLM | None, kept: Tensor, found: dict[int, Tensor]) -> Iterator[None]:
    """Put the states of every block at the kept columns into `found` at each forward pass."""

    def keeper(layer: int) -> Any:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            found[layer] = hidden_of(output)[:, kept.to(hidden_of(output).device)].float().cpu()

        return keep

    blocks = [] if host is None else host.native_blocks()
    handles = [block.register_forward_hook(keeper(layer)) for layer, block in enumerate(blocks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

"""Many runs in one forward pass: every block once, with its own positions and sight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_merge.contexts.blocks import Block, Run, in_order
from lm_merge.contexts.checks import check_packed, layer_windows
from lm_merge.spaces import Composed


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


def packed_logits(
    system: Composed, items: Sequence[Sequence[Run]], *, pad_id: int = 0
) -> list[list[Float[Tensor, "rows d_vocab"]]]:
    """Logits that predict the tokens after the injection, and one more, of every run of every item.

    One forward pass for all; equal to the cached form to rounding. No gradients. On the CPU, in the
    dtype of the model. Raises ValueError for what cannot be packed: `check_packed`.
    """
    check_packed(system, items)
    batch = batch_of([pack(runs) for runs in items], pad_id)
    host = system.host
    native: Any = host.require_native("packed scoring")
    wanted = [
        [part.rows(run) for run in runs] for part, runs in zip(batch.parts, items, strict=True)
    ]
    kept = torch.cat([rows for of_item in wanted for rows in of_item]).unique()
    with system.hooks(), torch.no_grad():
        logits = native(
            input_ids=batch.ids.to(host.device),
            attention_mask=mask_for(native, batch, host.dtype),
            position_ids=batch.positions.to(host.device),
            use_cache=False,
            logits_to_keep=kept.to(host.device),
        ).logits.cpu()
    places = {int(column): place for place, column in enumerate(kept)}
    return [
        [logits[item, [places[int(column)] for column in rows]] for rows in of_item]
        for item, of_item in enumerate(wanted)
    ]

"""How the updates of several adapters meet, block by block: cosines, and signs that differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from lm_merge.models.adapters import Adapter
from lm_merge.operators.low_rank import LowRank, inner_product
from lm_merge.spaces.weights.blocks import find_blocks


@dataclass(frozen=True)
class Interference:
    """Two adapters in one block; block None: modules outside of the blocks.

    cosine: of the updates of all common modules of the block as one vector, in [-1, 1]; NaN where one
    is 0. sign_conflict: share of the values, of those where both differ from 0, whose signs differ; .5
    for independent updates. norms: Frobenius norms of the two.
    """

    block: int | None
    first: str
    second: str
    cosine: float
    sign_conflict: float
    norms: tuple[float, float]
    n_modules: int


def interference(
    adapters: Sequence[Adapter], parameters: Sequence[str], *, signs: bool = True
) -> list[Interference]:
    """Every pair of adapters in every block that both update, in the order of the blocks.

    parameters: names of all parameters of the base, which tell which numbers are blocks. signs: also
    count signs, for which one module's matrices are built at a time; NaN without.
    """
    blocks = find_blocks(parameters)
    found: list[Interference] = []
    for one, other in combinations(adapters, 2):
        by_block: dict[int | None, list[str]] = {}
        for key in one.deltas:
            if key in other.deltas and one.deltas[key].shape == other.deltas[key].shape:
                by_block.setdefault(blocks.number(f"{key}.weight"), []).append(key)
        found += [_pair(one, other, block, keys, signs) for block, keys in by_block.items()]
    return sorted(found, key=lambda row: (row.block is None, row.block or 0))


def _pair(
    one: Adapter, other: Adapter, block: int | None, keys: Sequence[str], signs: bool
) -> Interference:
    pairs = [(one.deltas[key], other.deltas[key]) for key in keys]
    product = sum(inner_product(x, y) for x, y in pairs)
    norms = (
        sum(inner_product(x, x) for x, _ in pairs) ** 0.5,
        sum(inner_product(y, y) for _, y in pairs) ** 0.5,
    )
    scale = norms[0] * norms[1]
    return Interference(
        block=block,
        first=one.name,
        second=other.name,
        cosine=product / scale if scale else float("nan"),
        sign_conflict=_conflict(pairs) if signs else float("nan"),
        norms=norms,
        n_modules=len(keys),
    )


def _conflict(pairs: Sequence[tuple[LowRank, LowRank]]) -> float:
    n_both, n_differ = 0, 0
    for x, y in pairs:
        products = (
            x.to(dtype=torch.float32).dense().sign() * y.to(dtype=torch.float32).dense().sign()
        )
        n_both += int((products != 0).sum())
        n_differ += int((products < 0).sum())
    return n_differ / n_both if n_both else float("nan")

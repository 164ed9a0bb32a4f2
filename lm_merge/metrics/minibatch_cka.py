"""Linear CKA of many sets of paired rows from small Gram matrices: cheap, and flat in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lm_merge.accumulation import wide
from lm_merge.metrics.cka import MIN_ROWS, alignment
from lm_merge.statistics.intervals import student_interval

FEWEST = MIN_ROWS["debiased"]
GROUP_ROWS = 256
Pair = tuple[str, str]


@dataclass(frozen=True)
class CKAEstimate:
    """Debiased linear CKA: at most 1, about 0 for independent rows (may fall below).

    standard_error: delete-one jackknife over updates. Leftover rows, fewer than a group and 4, carry
    into the next update, so a text may straddle two groups. NaN for fewer than two updates that
    completed a group (n_parts).
    """

    value: float
    standard_error: float
    n_rows: int
    n_parts: int

    def row(self) -> dict[str, float | int]:
        """value, standard_error, low and high (95 %, Student's t over the parts) and n (rows)."""
        low, high = student_interval(self.value, self.standard_error, self.n_parts - 1)
        found = {"value": self.value, "standard_error": self.standard_error}
        return found | {"low": low, "high": high, "n": self.n_rows}


class MinibatchCKA:
    r"""Streams paired rows of several sets and estimates the debiased linear CKA of pairs of them.

    The minibatch U-statistic of Nguyen et al. (2021): rows fall into groups of `group_rows`; each
    group gives $\mathrm{HSIC}_1$ (Song et al. 2012), which is unbiased at any number of rows, and CKA
    is the quotient of their sums, weighted by pairs of rows. With one group it is exactly the debiased
    CKA of all rows. Only pairs of rows within a group are looked at: what that adds to the error falls
    as 1 / (n group_rows), and the mean over tokens of one text counts a little more (rows are dealt
    out so that a group spans as many texts as came together). Give whole texts in an update: the
    standard error takes updates, not rows, as independent.

    Memory: at most `group_rows` + 4 rows of each set and an update's own, and a few numbers a group;
    no [d, d] matrix. Cost: one [group_rows, d] Gram matrix of each set, not of each pair.

    >>> import torch
    >>> cka = MinibatchCKA([("host", "donor")])
    >>> rows = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    >>> cka.update({"host": rows, "donor": 2 * rows})
    >>> round(cka.results()["host", "donor"].value, 4)
    1.0
    """

    def __init__(self, pairs: Iterable[Pair], *, group_rows: int = GROUP_ROWS) -> None:
        if group_rows < FEWEST:
            raise ValueError(f"group_rows={group_rows} must be at least {FEWEST}")
        self.pairs = tuple(pairs)
        self.names = tuple(dict.fromkeys(name for pair in self.pairs for name in pair))
        self.group_rows = group_rows
        self._held: list[dict[str, Tensor]] = []
        self._groups: list[tuple[int, Tensor]] = []
        self._parts: list[int] = []  # of each group: with which update it was complete
        self._n_updates = 0

    def update(self, rows: Mapping[str, Float[Tensor, "n _"]]) -> None:
        """Add paired rows of every set; products are taken in float32 or the rows' wider dtype."""
        self._held.append({name: rows[name].detach().clone() for name in self.names})
        self._n_updates += 1
        n_held = sum(len(part[self.names[0]]) for part in self._held)
        n_full = (n_held - FEWEST) // self.group_rows  # what stays is never too few for a group
        if n_full <= 0:
            return
        together = self._together()
        n_used = n_full * self.group_rows
        for start in range(n_full):
            # every n_full-th row, so that a group spans all texts that came together
            dealt = {key: held[start:n_used:n_full] for key, held in together.items()}
            self._groups.append(self._group(dealt))
            self._parts.append(self._n_updates)
        self._held = [{key: held[n_used:].clone() for key, held in together.items()}]

    def results(self) -> dict[Pair, CKAEstimate]:
        """CKA of every pair over all rows so far; NaN where undefined (too few or constant rows)."""
        groups, parts_of = list(self._groups), list(self._parts)
        n_left = sum(len(part[self.names[0]]) for part in self._held)
        if n_left >= FEWEST:
            groups.append(self._group(self._together()))
            parts_of.append(self._n_updates)  # that of the last groups if no update came since
        if not groups:
            return {pair: CKAEstimate(torch.nan, torch.nan, n_left, 0) for pair in self.pairs}
        places = {part: i for i, part in enumerate(dict.fromkeys(parts_of))}
        sizes = [0] * len(places)
        products = torch.zeros(len(places), *groups[0][1].shape, dtype=torch.float64)
        for part, (n_rows, product) in zip(parts_of, groups, strict=True):
            sizes[places[part]] += n_rows
            products[places[part]] += product
        place = {name: i for i, name in enumerate(self.names)}
        found = {}
        for one, other in self.pairs:
            i, j = place[one], place[other]
            parts = torch.stack([products[:, i, j], products[:, i, i], products[:, j, j]], dim=1)
            value = alignment(*parts.sum(dim=0).tolist())
            error = _jackknife(value, parts, sizes)
            found[one, other] = CKAEstimate(value, error, sum(sizes), len(sizes))
        return found

    def _together(self) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in self._held]) for name in self.names}

    def _group(self, rows: Mapping[str, Tensor]) -> tuple[int, Tensor]:
        grams = torch.stack([_gram(rows[name]) for name in self.names])
        return grams.shape[1], wide(debiased_products(grams)).cpu()


def debiased_products(grams: Float[Tensor, "sets n n"]) -> Float[Tensor, "sets sets"]:
    r"""$n(n-3)\,\mathrm{HSIC}_1$ of each two sets, from their Gram matrices; n at least 4.

    With the diagonals removed, row sums $k$, $l$ and totals $\sigma_K$, $\sigma_L$:
    $\langle K, L\rangle - \frac{2}{n-2} k^\top l + \frac{\sigma_K\sigma_L}{(n-1)(n-2)}$
    (Song et al. 2012, equation 5), for all sets at once.
    """
    n = grams.shape[-1]
    grams = grams - torch.diag_embed(grams.diagonal(dim1=-2, dim2=-1))
    row_sums, flat = grams.sum(dim=-1), grams.flatten(1)
    totals = row_sums.sum(dim=-1)
    products = flat @ flat.T - 2 / (n - 2) * row_sums @ row_sums.T
    return products + torch.outer(totals, totals) / ((n - 1) * (n - 2))


def cka_within_texts(
    states: Mapping[str, Float[Tensor, "batch pos _"]],
    tokens: Bool[Tensor, "batch pos"],
    pairs: Iterable[Pair],
) -> dict[Pair, Float[Tensor, "batch 1"]]:
    """Biased linear CKA of each text by itself, in [0, 1]; rows are its tokens.

    The form in which the latent-merging paper (OpenReview ocEoHCrezd) gives CKA, averaged over
    prompts. With fewer tokens than the width it is high for any two streams, so it compares with
    published figures and with nothing else. NaN for a text of fewer than two tokens.

    >>> import torch
    >>> states = torch.eye(4).unsqueeze(0)  # one text of four tokens
    >>> tokens = torch.ones(1, 4, dtype=torch.bool)
    >>> cka_within_texts({"x": states, "y": 3 * states}, tokens, [("x", "y")])
    {('x', 'y'): tensor([[1.]])}
    """
    grams = {name: _centred_grams(stream, tokens) for name, stream in states.items()}
    norms = {name: gram.flatten(1).norm(dim=1) for name, gram in grams.items()}
    found = {}
    for one, other in pairs:
        product = (grams[one] * grams[other]).sum(dim=(1, 2))
        scale = norms[one] * norms[other]
        undefined = (tokens.sum(dim=1) < MIN_ROWS["biased"]) | (scale == 0)
        found[one, other] = (product / scale).masked_fill(undefined, torch.nan).unsqueeze(1)
    return found


def _centred_grams(states: Tensor, tokens: Tensor) -> Tensor:
    chosen = tokens.unsqueeze(-1)
    states = states.to(torch.promote_types(states.dtype, torch.float32)).masked_fill(~chosen, 0.0)
    centred = states - states.sum(dim=1, keepdim=True) / chosen.sum(dim=1, keepdim=True)
    centred = torch.where(chosen, centred, 0.0)
    return centred @ centred.mT


def _gram(rows: Tensor) -> Tensor:
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    rows = rows - rows.mean(dim=0)  # changes no HSIC; large common offsets stay out of the sums
    return rows @ rows.T


def _jackknife(value: float, parts: Tensor, sizes: Sequence[int]) -> float:
    """Standard error by leaving out one part at a time, for parts of unequal size.

    Busing et al. (1999), "Delete-m jackknife for unequal m". parts [part, 3]: products xy, xx, yy.
    """
    n_parts, n = len(sizes), sum(sizes)
    if n_parts < 2:
        return float("nan")
    without = [alignment(*row) for row in (parts.sum(dim=0) - parts).tolist()]
    ratios = [n / size for size in sizes]
    pseudo = [h * value - (h - 1) * left for h, left in zip(ratios, without, strict=True)]
    mean = sum(one / h for one, h in zip(pseudo, ratios, strict=True))
    spread = sum((one - mean) ** 2 / (h - 1) for one, h in zip(pseudo, ratios, strict=True))
    return (spread / n_parts) ** 0.5

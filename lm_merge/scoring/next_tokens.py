"""Next-token distributions of a pair and of its merges on given texts: losses and divergences."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_merge.models.tail import RecordedPass, Tail
from lm_merge.scoring.texts import Texts
from lm_merge.spaces.latents.latent_grid import GridPass

CHUNK_LOGITS = 2**24  # logits in memory at once, so that they do not grow with texts or cells
KL_METRICS = ("kl_host", "kl_donor")


class NextTokens:
    """Next-token log-probabilities of the parents at the scored columns of a batch, kept for all cells.

    at: columns to score; unless given those that predict a token. Distributions are over the tokens:
    rows of the unembeddings without one are padding and left out.
    """

    def __init__(self, passed: GridPass, texts: Texts, at: Tensor | None = None) -> None:
        self.at = texts.predicts if at is None else at
        self.targets = texts.tokens.roll(-1, dims=1)[self.at]
        tails = {"host": passed.host.tail, "donor": passed.donor.tail}
        ends = {"host": end_of(passed.host), "donor": end_of(passed.donor)}
        self.d_vocab = min(tail.model.n_token_rows for tail in tails.values())
        self.tail = tails["host"]
        self.parents = {
            name: torch.cat(list(self._in_parts(tails[name], end))) for name, end in ends.items()
        }

    def losses(self, name: str) -> Float[Tensor, " n"]:
        """Nats that a parent loses at each scored column."""
        return _loss(self.parents[name], self.targets)

    def of_merge(self, end: Float[Tensor, "batch pos d_model"]) -> dict[str, Float[Tensor, " n"]]:
        """Loss and KL(merge || parent) at each scored column, in nats; the host reads the merge out."""
        return self._scores(self._in_parts(self.tail, end))

    def of_logits(
        self, logits: Float[Tensor, "batch pos d_vocab"]
    ) -> dict[str, Float[Tensor, " n"]]:
        """The same of a merge that gives its own logits."""
        parts = logits[self.at].split(max(1, CHUNK_LOGITS // self.d_vocab))
        return self._scores(part[..., : self.d_vocab].float().log_softmax(-1) for part in parts)

    def _scores(self, parts: Iterable[Tensor]) -> dict[str, Tensor]:
        """From log-probabilities at the scored columns, a part of the columns at a time."""
        found: dict[str, list[Tensor]] = {key: [] for key in ("loss", *KL_METRICS)}
        start = 0
        for merged in parts:
            chosen = slice(start, start + len(merged))
            parents = {name: parent[chosen] for name, parent in self.parents.items()}
            for key, values in next_token_scores(merged, parents, self.targets[chosen]).items():
                found[key].append(values)
            start += len(merged)
        return {key: torch.cat(parts) for key, parts in found.items()}

    def log_probabilities(
        self, end: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "n d_vocab"]:
        """What the host predicts at each scored column from a state of its last block."""
        return torch.cat(list(self._in_parts(self.tail, end)))

    def _in_parts(self, tail: Tail, end: Tensor) -> Iterator[Tensor]:
        with torch.no_grad():
            for part in end[self.at].split(max(1, CHUNK_LOGITS // self.d_vocab)):
                yield tail.readout(part)[..., : self.d_vocab].float().log_softmax(dim=-1)

    def by_text(self, values: Float[Tensor, " n"], keep: Tensor | None = None) -> Tensor:
        """Values of the scored columns as [batch, pos], NaN elsewhere and where `keep` is False."""
        table = torch.full(self.at.shape, torch.nan, device=values.device)
        table[self.at] = values
        return table if keep is None else table.masked_fill(~keep, torch.nan)


def next_token_scores(
    merged: Float[Tensor, "n d_vocab"],
    parents: Mapping[str, Float[Tensor, "n d_vocab"]],
    targets: Int[Tensor, " n"],
) -> dict[str, Float[Tensor, " n"]]:
    """Loss on the targets and KL(merge || parent) of each parent, from log-probabilities, in nats."""
    divergences = {
        f"kl_{name}": (merged.exp() * (merged - parent)).sum(dim=-1)
        for name, parent in parents.items()
    }
    return {"loss": _loss(merged, targets), **divergences}


def end_of(passed: RecordedPass) -> Float[Tensor, "batch pos d_model"]:
    """resid_post of the last block."""
    return passed.states[passed.tail.n_layers - 1]


def _loss(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    return -log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)

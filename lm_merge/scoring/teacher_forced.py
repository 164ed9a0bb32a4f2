"""Merges on given texts: what each says next, token by token, beside both parents; no generation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_merge.metrics import MinibatchCKA, arc_ratio, midness
from lm_merge.metrics.minibatch_cka import CKAEstimate
from lm_merge.models import HookedLM
from lm_merge.models.tail import RecordedPass, Tail
from lm_merge.spaces.latents.latent_grid import GridCell, GridPass, LatentGrid
from lm_merge.statistics.clustered_means import ClusteredMean, Mean
from lm_merge.zoo.tasks import Question

CHUNK_LOGITS = 2**24  # logits in memory at once, so that they do not grow with texts or cells
KL_METRICS = ("kl_host", "kl_donor")
ARC_METRICS = {"midness": midness, "arc_ratio": arc_ratio}
LOSS_METRICS = ("loss", "loss_answer", "loss_increase", "loss_answer_increase")


@dataclass(frozen=True)
class Texts:
    """A batch of texts, padded on the right.

    answer: columns that hold the right answer, its end token included; none in texts without one.
    prompt_end: column of each text's last prompt token; the last token in texts without an answer.
    """

    tokens: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"]
    answer: Bool[Tensor, "batch pos"]
    prompt_end: Int[Tensor, "batch 1"]

    @property
    def predicts(self) -> Bool[Tensor, "batch pos"]:
        """Columns whose next one holds a token; there a next-token distribution is scored."""
        following = self.attention_mask.roll(-1, dims=1).bool()
        following[:, -1] = False
        return following

    @property
    def from_prompt_end(self) -> Bool[Tensor, "batch pos"]:
        """Every token from the last prompt token on."""
        columns = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return (columns >= self.prompt_end) & self.attention_mask.bool()


def encode_questions(host: HookedLM, questions: Sequence[Question], *, chat: bool = True) -> Texts:
    """Each question in the host's chat template with its right answer and end token after it."""
    tokenizer: Any = host.tokenizer
    pairs = []
    for question in questions:
        prompt = host.to_tokens(question.prompt, chat=chat).input_ids[0].tolist()
        answer = tokenizer(question.answer, add_special_tokens=False).input_ids
        pairs.append((prompt, [*answer, tokenizer.eos_token_id]))
    return _padded(pairs, host.device)


def encode_plain(host: HookedLM, texts: Sequence[str], *, chat: bool = False) -> Texts:
    """Texts none of whose tokens is an answer; with `chat` as prompts in the host's template."""
    ids = [host.to_tokens(text, chat=chat).input_ids[0].tolist() for text in texts]
    return _padded([(text, []) for text in ids], host.device)


def _padded(pairs: Sequence[tuple[list[int], list[int]]], device: torch.device) -> Texts:
    n_columns = max(len(prompt) + len(answer) for prompt, answer in pairs)
    tokens = torch.zeros(len(pairs), n_columns, dtype=torch.long)
    mask, in_answer = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        tokens[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        mask[row, : len(prompt) + len(answer)] = 1
        in_answer[row, len(prompt) : len(prompt) + len(answer)] = True
    ends = torch.tensor([[len(prompt) - 1] for prompt, _ in pairs])
    return Texts(*(part.to(device) for part in (tokens, mask, in_answer, ends)))


def run_texts(grid: LatentGrid, texts: Texts) -> GridPass:
    """The grid on one batch; positions "last" are those from the last prompt token on."""
    merged_at = texts.from_prompt_end if grid.merge.positions == "last" else None
    return grid.run(texts.tokens, texts.attention_mask, merged_at)


class NextTokens:
    """Next-token log-probabilities of the parents at the scored columns of a batch, kept for all cells.

    at: columns to score; unless given those that predict a token. Where the vocabularies are padded to
    different sizes, both are cut to the smaller one.
    """

    def __init__(self, passed: GridPass, texts: Texts, at: Tensor | None = None) -> None:
        self.at = texts.predicts if at is None else at
        self.targets = texts.tokens.roll(-1, dims=1)[self.at]
        tails = {"host": passed.host.tail, "donor": passed.donor.tail}
        ends = {"host": end_of(passed.host), "donor": end_of(passed.donor)}
        self.d_vocab = min(tail.model.d_vocab for tail in tails.values())
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
        """The same of a merge that speaks for itself."""
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
        """What the host says at each scored column from a state of its last block."""
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


class WholeMerge(NamedTuple):
    """A merge of whole models, which has no block: of weights or of logits."""

    space: str
    operator: str
    alpha: float


Merge = GridCell | WholeMerge


@dataclass(frozen=True)
class Spoken:
    """What a merge of whole models says of a batch; end: resid_post of its last block, if it has one."""

    logits: Float[Tensor, "batch pos d_vocab"]
    end: Float[Tensor, "batch pos d_model"] | None = None


class CellScores:
    """Accumulates, batch by batch, what is measured of every merge on texts; memory stays flat.

    cells: merges at one block; wholes: merges of whole models, to stand beside them.
    """

    def __init__(self, cells: Iterable[GridCell], wholes: Iterable[WholeMerge] = ()) -> None:
        metrics = (*LOSS_METRICS, *KL_METRICS, *ARC_METRICS)
        merges: tuple[Merge, ...] = (*cells, *wholes)
        self.means = {merge: {name: ClusteredMean() for name in metrics} for merge in merges}
        self.parents = {
            name: {metric: ClusteredMean() for metric in LOSS_METRICS[:2]}
            for name in ("host", "donor")
        }
        self.ckas: dict[tuple[Merge, ...], MinibatchCKA] = {}

    def update(
        self,
        passed: GridPass,
        texts: Texts,
        wholes: Iterable[tuple[WholeMerge, Spoken]] = (),
    ) -> None:
        """Add a batch: one pass of the parents and, block by block, of the merges."""
        batch = _Batch(passed, texts)
        for name, means in self.parents.items():
            losses = batch.spoken.losses(name)
            means["loss"].update(batch.spoken.by_text(losses))
            means["loss_answer"].update(batch.spoken.by_text(losses, batch.answers))
        for cells, ends in passed.ends():
            by_cell: dict[Merge, Tensor] = dict(zip(cells, ends, strict=True))
            for cell, end in by_cell.items():
                self._update_said(cell, batch, batch.spoken.of_merge(end))
            self._update_streams(batch, by_cell)
        for merge, spoken in wholes:
            self._update_said(merge, batch, batch.spoken.of_logits(spoken.logits))
            if spoken.end is not None:
                self._update_streams(batch, {merge: spoken.end})

    def _update_said(self, merge: Merge, batch: "_Batch", values: dict[str, Tensor]) -> None:
        means = self.means[merge]
        values["loss_increase"] = values["loss"] - batch.spoken.losses("host")
        for name, value in values.items():
            means[name].update(batch.spoken.by_text(value))
        for name in ("loss", "loss_increase"):
            key = name.replace("loss", "loss_answer")
            means[key].update(batch.spoken.by_text(values[name], batch.answers))

    def _update_streams(self, batch: "_Batch", ends: Mapping[Merge, Tensor]) -> None:
        real = batch.real
        rows = {"host": batch.host[real], "donor": batch.donor[real]}
        for merge, end in ends.items():
            for name, metric in ARC_METRICS.items():
                values = metric(batch.host, batch.donor, end.float()).squeeze(-1)
                self.means[merge][name].update(values.masked_fill(~real, torch.nan))
            rows[_name(merge)] = end[real]
        merges = tuple(ends)
        if merges not in self.ckas:
            pairs = [(one, _name(merge)) for merge in merges for one in ("host", "donor")]
            self.ckas[merges] = MinibatchCKA(pairs)
        self.ckas[merges].update(rows)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Tidy rows: what `where` and `estimate` give.

        A merge of logits has no stream, and no row of one.
        """
        for merge, means in self.means.items():
            for metric, mean in means.items():
                found = mean.result()
                if metric in ARC_METRICS and not found.n:
                    continue
                yield where(merge) | estimate(metric, found)
        for merges, fitter in self.ckas.items():
            results = fitter.results()
            for merge in merges:
                for parent in ("host", "donor"):
                    cka = results[parent, _name(merge)]
                    metric = f"cka_debiased_{parent}_merged"
                    yield where(merge) | estimate(metric, cka)

    def parent_rows(self) -> Iterator[dict[str, Any]]:
        """Rows of host and donor: system, metric and what `estimate` gives."""
        for name, means in self.parents.items():
            for metric, mean in means.items():
                yield {"system": name} | estimate(metric, mean.result())


class _Batch:
    """The parents on one batch of texts: what they say, and their streams at the last block."""

    def __init__(self, passed: GridPass, texts: Texts) -> None:
        self.spoken = NextTokens(passed, texts)
        self.real, self.answers = texts.attention_mask.bool(), texts.answer.roll(-1, dims=1)
        self.host, self.donor = end_of(passed.host).float(), end_of(passed.donor).float()


def estimate(metric: str, found: Mean | CKAEstimate) -> dict[str, Any]:
    """A mean with its standard error and 95 % interval; NaN where undefined, n values."""
    return {"metric": metric} | found.row()


def _loss(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    return -log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def end_of(passed: RecordedPass) -> Float[Tensor, "batch pos d_model"]:
    """resid_post of the last block."""
    return passed.states[passed.tail.n_layers - 1]


def where(merge: Merge) -> dict[str, Any]:
    """Layer (None for whole models), operator, alpha and space of a merge."""
    space = {"layer": None} if isinstance(merge, WholeMerge) else {"space": "latents"}
    return merge._asdict() | space


def _name(merge: Merge) -> str:
    return " ".join(map(str, merge))

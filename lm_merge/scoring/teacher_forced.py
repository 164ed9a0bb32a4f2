"""Merges on given texts, without generation: each one's losses, divergences and place in the stream."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lm_merge.metrics import MinibatchCKA, arc_ratio, midness
from lm_merge.metrics.minibatch_cka import CKAEstimate
from lm_merge.scoring.full_model_merges import FullModelMerge, NextTokenOutput
from lm_merge.scoring.next_tokens import KL_METRICS, NextTokens, end_of
from lm_merge.scoring.texts import Texts
from lm_merge.spaces.latents.latent_grid import GridCell, GridPass, LatentGrid
from lm_merge.statistics.clustered_means import ClusteredMean, Mean

ARC_METRICS = {"midness": midness, "arc_ratio": arc_ratio}
LOSS_METRICS = ("loss", "loss_answer", "loss_increase", "loss_answer_increase")
Merge = GridCell | FullModelMerge


def run_texts(grid: LatentGrid, texts: Texts) -> GridPass:
    """The grid on one batch; positions "last" are those from the last prompt token on."""
    merged_at = texts.from_prompt_end if grid.merge.positions == "last" else None
    return grid.run(texts.tokens, texts.attention_mask, merged_at)


class CellScores:
    """Accumulates, batch by batch, what is measured of every merge on texts; memory stays flat.

    cells: merges at one block; fulls: merges of full models, which have no block.
    """

    def __init__(self, cells: Iterable[GridCell], fulls: Iterable[FullModelMerge] = ()) -> None:
        metrics = (*LOSS_METRICS, *KL_METRICS, *ARC_METRICS)
        merges: tuple[Merge, ...] = (*cells, *fulls)
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
        fulls: Iterable[tuple[FullModelMerge, NextTokenOutput]] = (),
        *,
        after: Callable[[Sequence[GridCell]], None] | None = None,
    ) -> None:
        """Add a batch: one pass of the parents and, block by block, of the merges.

        after: called with the cells that were measured, part by part.
        """
        batch = _Batch(passed, texts)
        for name, means in self.parents.items():
            losses = batch.next_tokens.losses(name)
            means["loss"].update(batch.next_tokens.by_text(losses))
            means["loss_answer"].update(batch.next_tokens.by_text(losses, batch.answers))
        for cells, ends in passed.ends():
            by_cell: dict[Merge, Tensor] = dict(zip(cells, ends, strict=True))
            for cell, end in by_cell.items():
                self._update_outputs(cell, batch, batch.next_tokens.of_merge(end))
            self._update_streams(batch, by_cell)
            if after is not None:
                after(cells)
        for merge, output in fulls:
            self._update_outputs(merge, batch, batch.next_tokens.of_logits(output.logits))
            if output.end is not None:
                self._update_streams(batch, {merge: output.end})

    def _update_outputs(self, merge: Merge, batch: "_Batch", values: dict[str, Tensor]) -> None:
        means = self.means[merge]
        values["loss_increase"] = values["loss"] - batch.next_tokens.losses("host")
        for name, value in values.items():
            means[name].update(batch.next_tokens.by_text(value))
        for name in ("loss", "loss_increase"):
            key = name.replace("loss", "loss_answer")
            means[key].update(batch.next_tokens.by_text(values[name], batch.answers))

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
    """The parents on one batch: next-token distributions, and streams at the last block."""

    def __init__(self, passed: GridPass, texts: Texts) -> None:
        self.next_tokens = NextTokens(passed, texts)
        self.real, self.answers = texts.attention_mask.bool(), texts.answer.roll(-1, dims=1)
        self.host, self.donor = end_of(passed.host).float(), end_of(passed.donor).float()


def estimate(metric: str, found: Mean | CKAEstimate) -> dict[str, Any]:
    """A mean with its standard error and 95 % interval; NaN where undefined, n values."""
    return {"metric": metric} | found.row()


def where(merge: Merge) -> dict[str, Any]:
    """Layer (None for full models), operator, alpha and space of a merge."""
    space = {"layer": None} if isinstance(merge, FullModelMerge) else {"space": "latents"}
    return merge._asdict() | space


def _name(merge: Merge) -> str:
    return " ".join(map(str, merge))

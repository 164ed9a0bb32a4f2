"""Rounds: several classifiers are trained, merged, and each gets the merge back, again and again.

One model after another is in memory. After every epoch of a model, and after every merge, its state is
on disk, so that a run that was stopped goes on with the next epoch and ends with the same weights. The
order of the texts and the random state of an epoch follow from seed, locale and epoch alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lm_merge.coefficients.selection import Selection
from lm_merge.evaluation.massive import LabelledTexts
from lm_merge.evaluation.selected_sources import VOTES, combined
from lm_merge.evaluation.transfer import right_answers
from lm_merge.models.classifier import Classifier, load_classifier
from lm_merge.spaces.label_votes import LabelVotes
from lm_merge.training.epochs import train_epoch
from lm_merge.training.giving_back import averaged_moments, give_back
from lm_merge.training.memory import limit_device, with_smaller_batches
from lm_merge.training.merge_schedule import MergeSchedule
from lm_merge.training.monitoring import cost_since
from lm_merge.training.rounds_settings import RoundsSettings
from lm_merge.training.state import (
    FACTS,
    keep_last,
    read_facts,
    read_state,
    write_facts,
    write_state,
)
from lm_merge.training.triggers import Curves, has_stalled, merge_score


@dataclass
class Rounds:
    """Models by locale, their texts, and what has happened so far.

    start: locale -> classifier that its training starts from. folder: where states are kept. prompts:
    texts of which fisher and regmean take statistics. monitor: rows of table `monitor`; costs: what each
    epoch cost when it was trained (`cost_since`); merges: rows of table `merges`; notes: on memory that
    ran out, and on an early stop. on_row: called with each row, for progress.
    """

    start: Mapping[str, str]
    train: Mapping[str, LabelledTexts]
    dev: Mapping[str, LabelledTexts]
    selection: Selection
    settings: RoundsSettings
    folder: Path
    base: str | None = None
    prompts: Sequence[str] = ()
    on_row: Callable[[dict[str, Any]], None] = lambda row: None
    monitor: list[dict[str, Any]] = field(default_factory=list)
    merges: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, Curves] = field(default_factory=dict)
    costs: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _held: int | None = field(default=None, init=False)  # texts at once, once memory ran out

    def run(self) -> dict[str, Path]:
        """All epochs and merges; locale -> folder of its last state.

        Raises ValueError for a vote as method, and for a budget of memory without a GPU.
        """
        settings, schedule = self.settings, MergeSchedule(self.settings)
        if settings.method in VOTES:
            raise ValueError(
                f"method={settings.method!r} is a vote; rounds need a merge of weights"
            )
        if settings.max_device_gb is not None:
            limit_device(settings.device, settings.max_device_gb)
        self.folder.mkdir(parents=True, exist_ok=True)
        epoch = 0
        for epoch in range(1, settings.max_epochs + 1):
            for locale in self.selection.names:
                self._epoch(locale, epoch)
            own = [self.curves[locale] for locale in self.selection.names]
            score = merge_score(own, settings.convergence_threshold)
            if schedule.wants_merge(epoch, own, score, self.merges):
                self._merge(epoch, score)
            if has_stalled(own, settings.patience):
                self.notes.append(f"stopped after epoch {epoch}: patience={settings.patience}")
                break
        return {locale: self._place(locale, epoch) for locale in self.start}

    def _place(self, locale: str, epoch: int) -> Path:
        """The state after an epoch, the merged one where there was a merge."""
        merged = self._merged_place(locale, epoch)
        return merged if merged.is_dir() else self._own_place(locale, epoch)

    def _own_place(self, locale: str, epoch: int) -> Path:
        return self.folder / locale / f"epoch-{epoch:04d}"

    def _merged_place(self, locale: str, epoch: int) -> Path:
        return self.folder / locale / f"epoch-{epoch:04d}-merged"

    def _epoch(self, locale: str, epoch: int) -> None:
        """Train one epoch, or read its state; either way it is in the monitor and in the curves."""
        place, before = self._own_place(locale, epoch), self.curves.get(locale, Curves((), ()))
        if not place.is_dir():
            started = time.monotonic()
            model, moments, step, losses, rate = self._trained(locale, epoch)
            right = right_answers(model, self.dev[locale])
            row = {"epoch": epoch, "locale": locale, "loss": float(np.mean(losses))}
            row |= {"dev_accuracy": float(right.mean()), "learning_rate": rate}
            facts = {"step": step + len(losses), "losses": losses, "row": row}
            facts["cost"] = cost_since(started, len(self.train[locale]), self.folder)
            write_state(model.model, moments, facts, place)
            if model.tokenizer is not None:
                model.tokenizer.save_pretrained(place)
        facts = read_facts(place / FACTS)
        self.monitor.append(facts["row"])
        self.costs.append({"epoch": epoch, "locale": locale, **facts.get("cost", {})})
        self.on_row({**facts["row"], **facts.get("cost", {})})
        accuracies = (*before.dev_accuracies, facts["row"]["dev_accuracy"])
        self.curves[locale] = Curves((*before.losses, *facts["losses"]), accuracies)

    def _trained(
        self, locale: str, epoch: int
    ) -> tuple[Classifier, dict[str, Tensor], int, list[float], float]:
        """Model, moments, steps before, losses and last rate; smaller parts where memory runs out."""

        def attempt(held: int, _: int) -> Any:
            model, moments, step = self._at(locale, epoch - 1)  # nothing is half trained
            losses, rate = train_epoch(
                model, self.train[locale], moments, step, locale, epoch, self.settings, held=held
            )
            self._held = held
            return model, moments, step, losses, rate

        settings, held = self.settings, self._held or self.settings.batch
        parts = settings.batch * settings.accumulation // held
        found, notes = with_smaller_batches(attempt, held, parts)
        self.notes += notes
        return found

    def _at(self, locale: str, epoch: int) -> tuple[Classifier, dict[str, Tensor], int]:
        """Model, moments and steps done after an epoch; epoch 0 is the start."""
        device = self.settings.device
        if epoch == 0:
            return load_classifier(self.start[locale], device=device), {}, 0
        place = self._place(locale, epoch)
        moments, facts = read_state(place)
        return load_classifier(place, device=device), moments, int(facts["step"])

    def _merge(self, epoch: int, score: float) -> None:
        """Merge all models, check the merge, and give it back; or go on unmerged and say why."""
        names, done = self.selection.names, self.folder / f"merge-{epoch:04d}.json"
        if done.is_file():
            self.merges.append(read_facts(done))
            return
        row = self._merged_and_checked(epoch, score)
        write_facts(row, done)  # last: a crash before it makes the same merge again
        self.merges.append(row)
        self.on_row(row)
        for locale in names:
            keep_last(sorted((self.folder / locale).glob("epoch-*")), self.settings.keep_states)

    def _merged_and_checked(self, epoch: int, score: float) -> dict[str, Any]:
        """The row of a merge, which was given back where it passed the checks."""
        names = self.selection.names
        models = {locale: str(self._own_place(locale, epoch)) for locale in names}
        row: dict[str, Any] = {"epoch": epoch, "score": score, "accepted": False, "reason": ""}
        before = [self.curves[locale].dev_accuracies[-1] for locale in names]
        row["dev_before"] = float(np.mean(before))
        try:
            merged, _ = self.merged(models)
            after = [float(right_answers(merged, self.dev[locale]).mean()) for locale in names]
        except ValueError as error:  # not finite, other shapes: the round goes on unmerged
            return {**row, "dev_after": float("nan"), "reason": str(error)}
        row["dev_after"] = float(np.mean(after))
        if row["dev_after"] < min(before) - self.settings.margin:
            return {**row, "reason": "worse than the worst parent by more than the margin"}
        row["accepted"] = True
        assert isinstance(merged, Classifier)
        states, averaged = merged.model.state_dict(), dict[str, Tensor]()
        if self.settings.moments == "average":
            own = [Path(models[locale]) for locale in names]
            averaged = averaged_moments(own, self.selection.weights)
        for locale in names:
            place = self._merged_place(locale, epoch)
            give_back(self._own_place(locale, epoch), place, states, averaged, self.settings)
        return row

    def merged(self, models: Mapping[str, str]) -> tuple[Classifier | LabelVotes, tuple[str, ...]]:
        """The merge of classifiers by locale with the selection's weights, and its notes."""
        settings = self.settings
        return combined(
            self.selection,
            models,
            settings.method,
            base=self.base,
            method_args=settings.method_args,
            prompts=self.prompts,
            device=settings.device,
        )

"""What `python -m analyses.rounds` does, draws and reports."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analyses.rounds.config import RoundsConfig
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from figures.rounds_curves import plot_rounds_curves
from lm_merge.evaluation.massive import LabelledTexts, intent_names, read_massive
from lm_merge.evaluation.selected_sources import check_method
from lm_merge.evaluation.transfer import accuracy_row, right_answers
from lm_merge.models.classifier import Classifier, load_classifier, wrap_classifier
from lm_merge.runs.identity import config_hash
from lm_merge.runs.record import Run
from lm_merge.training.finetune import with_new_head
from lm_merge.training.memory import check_free_disk
from lm_merge.training.rounds import Rounds
from lm_merge.training.rounds_settings import RoundsSettings
from lm_merge.training.state import mirror

COPIES = 3  # of a state: the weights and two moments
MERGED = "merged"  # folder inside of the run's


def run(config: RoundsConfig, record: Run, *, quiet: bool = True) -> Tables:
    """Train and merge in rounds, then measure the merge of the last models on the target.

    That merge is in the folder `merged` of the run.
    """
    check_method(config.method)
    selection = config.selection()
    texts = {
        name: read_massive(config.data, (*selection.names, config.target), name)
        for name in ("train", "dev", "test")
    }
    cut = {
        name: {locale: one.drawn(0, config.n_examples) for locale, one in by.items()}
        for name, by in texts.items()
    }
    folder = config.states / config_hash(config)
    start = started(config, folder)
    rounds = Rounds(
        start=dict.fromkeys(selection.names, str(start)),
        train=cut["train"],
        dev=cut["dev"],
        selection=selection,
        settings=RoundsSettings(
            **{name: getattr(config, name) for name in RoundsSettings.model_fields}
        ),
        folder=folder,
        base=config.base,
        prompts=config.statistics_texts(
            config.method, config.data, config.target, selection.names, config.seed
        ),
        on_row=_Progress(config.max_epochs * len(selection.names), quiet),
    )
    last = rounds.run()
    if config.mirror is not None:
        for locale, place in last.items():
            mirror(place, config.mirror / locale)
    merged, _ = rounds.merged({locale: str(place) for locale, place in last.items()})
    assert isinstance(merged, Classifier)  # votes are refused
    record.add_file(saved(merged, record.folder / MERGED))
    record.update(
        device=config.device or "cpu",
        models=dict(config.inputs),
        seeds=(config.seed,),
        notes=tuple(dict.fromkeys(rounds.notes)),
    )
    return {
        "monitor": pd.DataFrame(rounds.monitor).merge(pd.DataFrame(rounds.costs), how="left"),
        "merges": merge_table(rounds.merges, rounds.monitor, config.effect_after),
        "sources": pd.DataFrame(selection.rows()),
        "accuracy": pd.DataFrame(measured(config, merged, last, cut)),
    }


MERGES = ["epoch", "score", "accepted", "reason", "dev_before", "dev_after"]


def merge_table(
    merges: list[dict[str, Any]], monitor: list[dict[str, Any]], after: int
) -> pd.DataFrame:
    """Table "merges", with the sources' mean dev accuracy so many epochs later; NaN after the end."""
    accuracies = pd.DataFrame(monitor).groupby("epoch").dev_accuracy.mean()
    table = pd.DataFrame(merges, columns=MERGES)
    later = [float(accuracies.get(epoch + after, float("nan"))) for epoch in table.epoch]
    return table.assign(dev_later=pd.Series(later, dtype=float))


def started(config: RoundsConfig, folder: Path) -> Path:
    """The classifier that every source starts from; raises OSError for too little free disk."""
    place = folder / "start"
    if place.is_dir():
        return place
    torch.manual_seed(config.seed)
    model, tokenizer = with_new_head(config.base, intent_names(config.data))
    size = sum(one.numel() * one.element_size() for one in model.parameters())
    n_states = len(config.selection().names) * (config.keep_states + 2)
    check_free_disk(folder, size * COPIES * n_states, "training in rounds")
    draft = folder / ".start-draft"
    saved(wrap_classifier(model, tokenizer, config.base), draft)
    draft.rename(place)
    return place


def saved(model: Classifier, folder: Path) -> Path:
    """A classifier with its tokenizer as a folder that transformers loads."""
    model.model.save_pretrained(folder)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(folder)
    return folder


def measured(
    config: RoundsConfig,
    merged: Classifier,
    last: dict[str, Path],
    texts: dict[str, dict[str, LabelledTexts]],
) -> list[dict[str, object]]:
    """Accuracy on the target of the last models merged, and of each of them."""
    found = {"rounds": merged}
    for locale, place in last.items():
        found[f"source {locale}"] = load_classifier(place, device=config.device)
    return [
        {
            "target": config.target,
            "system": system,
            "partition": name,
            **accuracy_row(right_answers(model, texts[name][config.target])),
        }
        for system, model in found.items()
        for name in ("dev", "test")
    ]


class _Progress:
    """A line for every epoch and merge, with the time left."""

    def __init__(self, n_epochs: int, quiet: bool) -> None:
        self._n_epochs, self._quiet, self._seconds = n_epochs, quiet, list[float]()

    def __call__(self, row: dict[str, Any]) -> None:
        if "seconds" in row:
            self._seconds.append(row["seconds"])
        if not self._quiet:
            mean = sum(self._seconds) / max(1, len(self._seconds))
            left = (self._n_epochs - len(self._seconds)) * mean
            shown = ", ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in row.items()
                if value not in (None, "")
            )
            sys.stderr.write(f"{shown}; about {left:.0f} s left\n")


def draw(tables: Tables, config: RoundsConfig) -> list[Figure]:
    """Dev accuracy by epoch, with the merges."""
    monitor = tables["monitor"]
    return [("rounds_curves", plot_rounds_curves(monitor, tables["merges"]), monitor)]


def findings(tables: Tables, config: RoundsConfig) -> list[Finding]:
    """Rows of `summary.json`, accuracy on the test texts of the target.

    Keys: target, system, accuracy_frac, low, high (95 %), n.
    """
    accuracy = tables["accuracy"]
    test = pd.DataFrame(accuracy[accuracy.partition == "test"]).drop(columns="partition")
    return [{str(key): value for key, value in row.items()} for row in test.to_dict("records")]


def summary(tables: Tables, config: RoundsConfig) -> str:
    """Test accuracy of the merge and of its sources; how many merges were accepted."""
    accuracy, merges = tables["accuracy"], tables["merges"]
    test = pd.DataFrame(accuracy[accuracy.partition == "test"]).to_dict("records")
    values = ", ".join(f"{row['system']} {row['accuracy_frac']:.3f}" for row in test)
    accepted = int(merges.accepted.sum()) if len(merges) else 0
    return f"{config.words}: {accepted} of {len(merges)} merges given back; test accuracy: {values}"

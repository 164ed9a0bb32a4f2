"""Accuracy of classifiers on the languages of others, and what it says over many targets."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy import ndarray

from lm_merge.evaluation.massive import LabelledTexts
from lm_merge.statistics.bootstrap import bca_interval
from lm_merge.statistics.intervals import wilson_interval
from lm_merge.statistics.multiple_tests import holm
from lm_merge.statistics.paired import paired_difference


@runtime_checkable
class Predictor(Protocol):
    """A classifier or a vote."""

    @property
    def labels(self) -> Sequence[str]: ...

    def predict(self, texts: Sequence[str], **options: Any) -> list[str]: ...


def right_answers(model: Predictor, texts: LabelledTexts, **options: Any) -> Bool[ndarray, " n"]:
    """Whether each text gets its label.

    Raises ValueError for a label of the texts that the model lacks: it would always count as wrong.
    """
    unknown = sorted(set(texts.labels) - set(model.labels))
    if unknown:
        raise ValueError(f"label {unknown[0]!r} of {texts.locale} is none of the model's labels")
    return np.array(model.predict(texts.texts, **options)) == np.array(texts.labels)


def accuracy_row(right: Bool[ndarray, " n"]) -> dict[str, float | int]:
    """accuracy_frac with low and high (95 %, Wilson) and n."""
    low, high = wilson_interval(int(right.sum()), len(right))
    return {"accuracy_frac": float(right.mean()), "low": low, "high": high, "n": len(right)}


def by_system(table: pd.DataFrame, *, partial: bool = False) -> pd.DataFrame:
    """accuracy_frac, one row a target and one column a system, of columns system, target, accuracy_frac.

    Several rows of one system and target (seeds) count as their mean. Raises ValueError for a system
    that lacks a target which others have, unless `partial`: then it is NaN there.
    """
    wide = table.pivot_table(
        index="target", columns="system", values="accuracy_frac", aggfunc="mean", sort=False
    )
    holes = wide.isna().to_numpy()
    if not partial and holes.any():
        number = int(holes.any(axis=0).argmax())
        system = str(wide.columns[number])
        missing = ", ".join(map(str, wide.index[holes[:, number]]))
        raise ValueError(
            f"system {system!r} has no accuracy for targets {missing}; compute them too"
        )
    return wide


def contrasts(table: pd.DataFrame, reference: str, *, partial: bool = False) -> pd.DataFrame:
    """Every system against a reference over targets, which are the units.

    partial: systems may lack targets; each is then compared on those that both have.

    Columns: system, reference, mean_gain with low and high (BCa over targets; accuracy as a share), wins
    (targets with a gain above 0), losses, win_rate (ties count half) with win_low and win_high (Wilson),
    p_wilcoxon, p_holm (over all contrasts), n_targets.
    """
    wide = by_system(table, partial=partial)
    if reference not in wide:
        raise ValueError(f"reference={reference!r} is unknown; choose from {', '.join(wide)}")
    rows = []
    for system in wide.columns.drop(reference):
        gains = (wide[system] - wide[reference]).dropna().to_numpy()
        gains = np.where(np.abs(gains) < 1e-12, 0.0, gains)
        found = paired_difference(gains)
        wins, losses, n = int((gains > 0).sum()), int((gains < 0).sum()), len(gains)
        points = wins + (n - wins - losses) / 2
        win_low, win_high = wilson_interval(round(points), n)
        rows.append(
            {
                "system": system,
                "reference": reference,
                "mean_gain": found.mean,
                "low": found.low,
                "high": found.high,
                "wins": wins,
                "losses": losses,
                "win_rate": points / n,
                "win_low": win_low,
                "win_high": win_high,
                "p_wilcoxon": found.p_wilcoxon,
                "n_targets": n,
            }
        )
    made = pd.DataFrame(rows)
    if len(made):
        made["p_holm"] = holm(made.p_wilcoxon.to_numpy(dtype=float))
    return made


def summary_rows(
    table: pd.DataFrame, reference: str, systems: Sequence[str] | None = None
) -> list[dict[str, object]]:
    """One row a system: system, mean_accuracy with low and high, n_targets, wins, p_holm.

    The mean is over targets, its interval BCa over targets. wins: targets on which the system is better
    than the reference; p_holm: Wilcoxon's signed-rank test against it, by Holm over the systems. Both
    are None for the reference. systems: which, in this order; None: all.
    """
    wide = by_system(table)
    chosen = list(wide.columns) if systems is None else list(systems)
    kept = pd.DataFrame(table[table.system.isin([*chosen, reference])])
    against = {row["system"]: row for row in contrasts(kept, reference).to_dict("records")}
    rows: list[dict[str, object]] = []
    for system in chosen:
        values = wide[system].to_numpy(dtype=float)
        low, high = bca_interval(values)
        contrast = against.get(system)
        rows.append(
            {
                "system": system,
                "mean_accuracy": float(values.mean()),
                "low": low,
                "high": high,
                "n_targets": len(values),
                "wins": None if contrast is None else contrast["wins"],
                "p_holm": None if contrast is None else contrast["p_holm"],
            }
        )
    return rows

"""Accuracy of classifiers: labelled texts from a file, and tables of predicted against true labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from lm_merge.evaluation.json_lines import read_rows
from lm_merge.statistics.intervals import clustered_interval, wilson_interval

OVERALL = "Overall"


class LabelledText(BaseModel):
    """A text with its true label: one line of a JSONL file. Other keys are not read."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    text: str = Field(min_length=1)
    label: str = Field(min_length=1)


def labelled_texts(path: str | Path, labels: Sequence[str]) -> list[LabelledText]:
    """The labelled texts of a JSONL file, in order.

    labels: those of the classifier. Raises ValueError, with the file, for a label that is not among
    them, since such a text would always count as wrong.
    """
    rows = read_rows(path, LabelledText)
    if not rows:
        raise ValueError(f"{path} contains no labelled text; give one JSON object a line")
    unknown = sorted({row.label for row in rows} - set(labels))
    if unknown:
        raise ValueError(
            f"{path}: label={unknown[0]!r} is not a label of the classifier; "
            f"choose from {', '.join(labels)}"
        )
    return rows


def label_accuracy(
    predicted: Sequence[str], true: Sequence[str], *, groups: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row a true label, in order of appearance, and "Overall".

    Columns: label, accuracy_frac (of a label: its recall), low and high (95 %), n, n_predicted (how
    often the label was predicted). Intervals are Wilson's; with `groups`, texts of one group (a
    document, a paraphrase) are not independent, and the interval draws whole groups.
    """
    if not len(predicted) == len(true):
        raise ValueError(f"{len(predicted)} predicted labels for {len(true)} texts; give one each")
    if groups is not None and len(groups) != len(true):
        raise ValueError(f"{len(groups)} groups for {len(true)} texts; give one each")
    right = np.array(
        [one == other for one, other in zip(predicted, true, strict=True)], dtype=float
    )
    truth = np.array(true, dtype=object)
    rows = []
    for label in (*dict.fromkeys(true), OVERALL):
        of_label = np.ones(len(true), dtype=bool) if label == OVERALL else truth == label
        rows.append(
            {
                "label": label,
                "accuracy_frac": right[of_label].mean() if of_label.any() else np.nan,
                **_interval(right[of_label], groups, of_label),
                "n": int(of_label.sum()),
                "n_predicted": len(true) if label == OVERALL else list(predicted).count(label),
            }
        )
    return pd.DataFrame(rows)


def confusions(predicted: Sequence[str], true: Sequence[str]) -> pd.DataFrame:
    """How often each true label was predicted as each label: columns true, predicted, n (above 0)."""
    counted = pd.DataFrame({"true": list(true), "predicted": list(predicted)})
    return counted.value_counts(["true", "predicted"], sort=False).rename("n").reset_index()


def _interval(
    right: np.ndarray, groups: Sequence[str] | None, chosen: np.ndarray
) -> dict[str, float]:
    if not len(right):
        return {"low": np.nan, "high": np.nan}
    if groups is None:
        low, high = wilson_interval(int(right.sum()), len(right))
    else:
        own = [group for group, is_chosen in zip(groups, chosen, strict=True) if is_chosen]
        low, high = clustered_interval(right, own)
    return {"low": low, "high": high}

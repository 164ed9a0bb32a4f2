"""What the metrics of a grid over blocks are called on axes, and which way is better."""

from typing import NamedTuple

import pandas as pd

from figures.columns import distinct


class LayerMetric(NamedTuple):
    """Name in a title, axis title with its unit, and whether less is better (None: neither)."""

    title: str
    axis: str
    less_is_better: bool | None
    unit: str = "tokens"


LAYER_METRICS = {
    "loss": LayerMetric("Loss on whole texts", "loss (nats/token)", True),
    "loss_answer": LayerMetric("Loss on the right answers", "loss (nats/token)", True),
    "loss_increase": LayerMetric("Loss over the host's", "loss increase (nats/token)", True),
    "loss_answer_increase": LayerMetric(
        "Loss on the right answers over the host's", "loss increase (nats/token)", True
    ),
    "kl_host": LayerMetric("KL(merge ‖ host)", "KL (nats/token)", True),
    "kl_donor": LayerMetric("KL(merge ‖ donor)", "KL (nats/token)", True),
    "accuracy": LayerMetric(
        "Accuracy of generated answers", "accuracy (share)", False, "questions"
    ),
    "midness": LayerMetric("Midness at the last block", "cosine with the midpoint", None),
    "arc_ratio": LayerMetric("Arc ratio at the last block", "0 = host, 1 = donor", None),
    "cka_debiased_host_merged": LayerMetric(
        "CKA of host and merge at the last block", "debiased CKA (0 to 1)", None
    ),
    "cka_debiased_donor_merged": LayerMetric(
        "CKA of donor and merge at the last block", "debiased CKA (0 to 1)", None
    ),
}


def rows_of(table: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, LayerMetric]:
    """The rows of a metric, and how it is drawn; ValueError for one that is unknown or absent."""
    rows = table.loc[table["metric"] == metric]
    if metric not in LAYER_METRICS or rows.empty:
        known = [name for name in map(str, distinct(table, "metric")) if name in LAYER_METRICS]
        raise ValueError(f"metric={metric!r} cannot be drawn; the table has: {', '.join(known)}")
    return rows, LAYER_METRICS[metric]


def grid_note(operators: list[str]) -> str:
    """What a reader must know of the operators drawn; empty where nothing."""
    if {"lerp", "regmean"} <= set(operators):
        return "regmean: α = 1/(1+λ), where it equals lerp"
    return ""

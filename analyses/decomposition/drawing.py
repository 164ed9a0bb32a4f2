"""Figures of a decomposition, by name."""

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go

from analyses.decomposition.config import DecompositionConfig
from analyses.running.command_line import Figure, Tables
from figures.decomposition_columns import plot_decomposition_columns
from figures.decomposition_histogram import plot_importance_histogram
from figures.decomposition_importances import plot_decomposition_importances
from figures.decomposition_mean_importance import plot_mean_importance
from figures.decomposition_metrics import plot_decomposition_metrics
from figures.decomposition_published import plot_decomposition_published

# name -> the table it draws, the function
FIGURES: dict[str, tuple[str, Callable[..., go.Figure]]] = {
    "columns": ("columns", plot_decomposition_columns),
    "histogram": ("importances", plot_importance_histogram),
    "importances": ("importances", plot_decomposition_importances),
    "mean_importance": ("importances", plot_mean_importance),
    "metrics": ("metrics", plot_decomposition_metrics),
    "published": ("published", plot_decomposition_published),
}
NEEDED = {"columns": "x", "published": "published_mean"}  # figure -> column that must have values


def draw(tables: Tables, config: DecompositionConfig) -> list[Figure]:
    """The figures that the configuration names and whose table is there."""
    names = FIGURES if config.figures is None else config.figures
    unknown = sorted(set(names) - set(FIGURES))
    if unknown:
        raise ValueError(f"figures: {unknown} are unknown; choose from {', '.join(FIGURES)}")
    drawn: list[Figure] = []
    for name in names:
        table, plot = FIGURES[name]
        if table in tables and _has_values(tables[table], NEEDED.get(name)):
            drawn.append((name, plot(tables[table]), tables[table]))
    return drawn


def _has_values(table: pd.DataFrame, column: str | None) -> bool:
    return column is None or bool(table[column].notna().to_numpy().any())

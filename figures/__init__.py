"""Figures from tables: each `plot_<what>(table)` returns a figure, neither shown nor saved."""

from figures.accuracy_by_category import plot_accuracy_by_category
from figures.arc_ratio_by_alpha import plot_arc_ratio_by_alpha
from figures.export import save_figure
from figures.gate_by_token import plot_gate_by_token
from figures.notebook import use_in_notebooks
from figures.page import Section, render_page
from figures.residual_paths import plot_residual_paths
from figures.similarity_by_layer import plot_similarity_by_layer
from figures.template import TEMPLATE

__all__ = [
    "TEMPLATE",
    "Section",
    "plot_accuracy_by_category",
    "plot_arc_ratio_by_alpha",
    "plot_gate_by_token",
    "plot_residual_paths",
    "plot_similarity_by_layer",
    "render_page",
    "save_figure",
    "use_in_notebooks",
]

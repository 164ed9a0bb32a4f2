"""A grid of configurations: run in turn or on Ray, resumable at any moment, several processes at once.

labels = grid_labels({"operator": ["lerp", "slerp"], "layers": [[3], [7]]})
configs = [with_values(SimilarityConfig(), label) for label in labels]
outcomes = sweep("similarity", configs, run, root=Path("runs"))
tables = collect(outcomes, labels)
"""

from lm_merge.runs.cells import Cell, CellOutcome, Executor, run_cell, serially
from lm_merge.runs.grid import config_with, grid, grid_labels, with_values
from lm_merge.runs.on_ray import on_ray
from lm_merge.runs.sweep import cell_table, collect, sweep

__all__ = [
    "Cell",
    "CellOutcome",
    "Executor",
    "cell_table",
    "collect",
    "config_with",
    "grid",
    "grid_labels",
    "on_ray",
    "run_cell",
    "serially",
    "sweep",
    "with_values",
]

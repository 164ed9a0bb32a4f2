"""Records of runs; grids of configurations and searches, in turn or on Ray, resumable at any moment.

labels = grid_labels({"operator": ["lerp", "slerp"], "layers": [[3], [7]]})
configs = [with_values(SimilarityConfig(), label) for label in labels]
outcomes = sweep("similarity", configs, run, root=Path("runs"))
tables = collect(outcomes, labels)
"""

from lm_merge.runs.cells import Cell, CellOutcome, make_cell, run_cell
from lm_merge.runs.executors import Executor, InTurn
from lm_merge.runs.grid import config_with, grid, grid_labels, with_values
from lm_merge.runs.kept_objects import BETWEEN_CELLS, KeptObjects
from lm_merge.runs.on_ray import on_ray
from lm_merge.runs.sweep import cell_table, collect, run_cells, sweep
from lm_merge.runs.trials import Proposer, Trial, search

__all__ = [
    "BETWEEN_CELLS",
    "Cell",
    "CellOutcome",
    "Executor",
    "InTurn",
    "KeptObjects",
    "Proposer",
    "Trial",
    "cell_table",
    "collect",
    "config_with",
    "grid",
    "grid_labels",
    "make_cell",
    "on_ray",
    "run_cell",
    "run_cells",
    "search",
    "sweep",
    "with_values",
]

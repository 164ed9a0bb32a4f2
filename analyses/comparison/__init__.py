"""Do merged answers beat others? The parents and merges in every space answer the same questions."""

from analyses.comparison.analysis import ComparisonOptions, draw, main, run, runs_folder, summary
from analyses.comparison.config import ComparisonConfig

__all__ = [
    "ComparisonConfig",
    "ComparisonOptions",
    "draw",
    "main",
    "run",
    "runs_folder",
    "summary",
]

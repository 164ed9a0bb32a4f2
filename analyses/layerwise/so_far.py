"""What a grid has measured so far, as a table and a figure, for a run that is stopped."""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analyses.running.command_line import save_figures
from figures import plot_layerwise_heatmap
from lm_merge.runs.record import Run

NAME = "layerwise_loss_so_far"
FIRST_S, APART_S = 5.0, 60.0  # a run that ends before leaves none


class SoFar:
    """Writes `layerwise_loss_so_far` into a run's folder now and then, and takes it away at the end.

    The texts come category by category in turn, so that those measured first are a sample of all.
    """

    def __init__(self, record: Run | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder: Path | None = None if record is None else record.folder
        self._clock, self._start, self._due = clock, clock(), FIRST_S

    def write_if_due(self, table: Callable[[], pd.DataFrame]) -> None:
        """After a batch; `table` gives the rows of the batches until now."""
        passed = self._clock() - self._start
        if passed >= self._due:
            self._due = passed + APART_S
            self.write(table())

    def write(self, table: pd.DataFrame) -> None:
        """Write the figure and its table now."""
        rows = table.loc[(table.metric == "loss") & table.layer.notna() & table.value.notna()]
        if self._folder is not None and len(rows):
            figure = plot_layerwise_heatmap(table.loc[table.layer.notna()], "loss")
            save_figures(self._folder, [(NAME, figure, rows)], ("html",))

    def remove(self) -> None:
        """The grid is measured whole."""
        if self._folder is not None:
            for path in self._folder.glob(f"{NAME}.*"):
                path.unlink()

"""Cells that need other cells, and how many are under way at once."""

import random

import pytest
import sweep_cells
from sweep_cells import Settings, traced

from lm_merge.runs import InTurn, make_cell, run_cells
from lm_merge.runs.record import read_record
from lm_merge.runs.summary import read_summary


def chain(tmp_path, function=sweep_cells.summed, third=("first", "second"), **options):
    """A cell, one that needs it, and one that needs both; handed in with the last one first."""
    cells: dict = {}
    needs = {"first": (), "second": ("first",), "third": third}
    for place, (name, names) in enumerate(needs.items()):
        config = Settings(alpha=0.5 + 0.1 * place, folder=tmp_path)
        keys = [cells[one].key if one in cells else one for one in names]
        cells[name] = make_cell(name, config, function, tmp_path / "runs", needs=keys, **options)
    return [cells[name] for name in ("third", "second", "first")]


def test_a_cell_runs_after_those_that_it_needs_and_reads_their_runs(tmp_path):
    third, second, first = run_cells(chain(tmp_path))
    assert [one.status for one in (first, second, third)] == ["finished"] * 3
    begun = traced(tmp_path)
    assert begun[0.5] < begun[0.6] < begun[0.7]
    heights = [read_summary(one.folder)[0] for one in (first, second, third)]
    # -(0.5 - 0.7)^2; -(0.6 - 0.7)^2 + that; 0 + both
    assert [row["value"] for row in heights] == pytest.approx([-0.04, -0.05, -0.09])
    assert list(read_record(third.folder).needs.values()) == [first.folder.name, second.folder.name]
    again = run_cells(chain(tmp_path))
    assert {one.status for one in again} == {"found"}


def test_a_cell_whose_needs_changed_is_computed_again(tmp_path):
    run_cells(chain(tmp_path))
    third, second, first = run_cells(chain(tmp_path, third=("second",)))
    assert (first.status, second.status, third.status) == ("found", "found", "finished")


def test_what_a_failed_cell_was_needed_for_fails_with_the_reason(tmp_path):
    third, second, first = run_cells(chain(tmp_path, sweep_cells.summed_but_for_one))
    assert {one.status for one in (first, second, third)} == {"failed"}
    assert first.message == "ArithmeticError: no height here"
    assert second.message == f"needs cell {first.key}, which failed: {first.message}"
    assert second.folder is None
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == 1


def test_needs_that_cannot_be_met_are_refused(tmp_path):
    with pytest.raises(ValueError, match="needs elsewhere, which is not among the cells"):
        run_cells(chain(tmp_path, third=("elsewhere",)))
    one, other = (Settings(alpha=alpha, folder=tmp_path) for alpha in (0.1, 0.2))
    function, root = sweep_cells.summed, tmp_path / "runs"
    keys = [make_cell("a", config, function, root).key for config in (one, other)]
    circle = [
        make_cell("a", one, function, root, needs=[keys[1]]),
        make_cell("a", other, function, root, needs=[keys[0]]),
    ]
    with pytest.raises(ValueError, match="cells need each other: "):
        run_cells(circle)


class Shuffled(InTurn):
    """Ends the cells that it holds in any order, and counts how many it held."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance, self.most = random.Random(seed), 0

    def next_done(self):
        self.most = max(self.most, len(self._waiting))
        self._waiting.rotate(self.chance.randrange(len(self._waiting)))
        return super().next_done()


@pytest.mark.parametrize(
    "at_once", [3, *(pytest.param(one, marks=pytest.mark.slow) for one in (1, None))]
)
def test_no_more_cells_are_under_way_than_asked_for(tmp_path, at_once):
    executor = Shuffled(0)
    settings = sweep_cells.configs(tmp_path, 7)
    cells = [make_cell("a", one, sweep_cells.computed, tmp_path / "runs") for one in settings]
    outcomes = run_cells(cells, executor=executor, at_once=at_once)
    assert [one.key for one in outcomes] == [cell.key for cell in cells]
    assert executor.most == (at_once or 7)

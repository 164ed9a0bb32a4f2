"""Sweeps that are killed at any moment, and several processes on one folder."""

import multiprocessing
import random
import time
from collections import Counter
from pathlib import Path

import pytest
import sweep_cells
from filelock import FileLock
from sweep_cells import configs, finished, keys, sweep_in_child, traced

from lm_merge.runs import sweep
from lm_merge.runs.cells import LOCKS
from lm_merge.runs.lookup import find_finished
from lm_merge.runs.record import read_record, start_run

PATIENCE_S = 60


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have all imports done already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sweep_cells"])
    return context


class Child:
    """A process that sweeps."""

    def __init__(self, processes, folder: Path, n: int, function, stop_at: int = 0) -> None:
        self.connection, theirs = processes.Pipe()
        arguments = (theirs, folder, n, function, stop_at)
        self.process = processes.Process(target=sweep_in_child, args=arguments)
        self.process.start()
        theirs.close()
        assert self.connection.recv() == "ready"

    def end(self) -> tuple[int, list[str]] | None:
        """(files touched, status of each cell), or None if it was killed."""
        try:
            assert self.connection.poll(PATIENCE_S)
            return self.connection.recv()
        except EOFError:
            return None
        finally:
            self.process.join(PATIENCE_S)
            self.process.close()


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def contents(root: Path) -> dict[Path, bytes]:
    """Every file of every finished run."""
    folders = [path.parent for path in root.glob("*/record.json")]
    done = [folder for folder in folders if read_record(folder).status == "finished"]
    return {file: file.read_bytes() for folder in done for file in folder.iterdir()}


def assert_whole(folder: Path, n: int) -> None:
    """Every cell is finished exactly once, and was not begun again after that."""
    settings = configs(folder, n)
    assert finished(folder / "runs") == Counter(keys(settings))
    for config in settings:
        done = find_finished(folder / "runs", "similarity", config)
        assert done is not None
        end = read_record(done).finished
        assert end is not None
        assert max(traced(folder)[config.alpha]) <= end.timestamp()


@pytest.mark.slow
@pytest.mark.parametrize("n_kills", [3, 12])
def test_killed_at_any_file_operation_and_started_again(tmp_path, processes, n_kills):
    whole = Child(processes, tmp_path, 2, sweep_cells.computed).end()
    assert whole is not None
    n_operations, statuses = whole
    assert statuses == ["finished"] * 2
    n_before = []
    for stop_at in random.Random(0).sample(range(1, n_operations + 1), n_kills):
        folder = tmp_path / str(stop_at)
        folder.mkdir()
        assert Child(processes, folder, 2, sweep_cells.computed, stop_at).end() is None
        before = contents(folder / "runs")
        n_before.append(sum(finished(folder / "runs").values()))
        outcomes = sweep(
            "similarity", configs(folder, 2), sweep_cells.computed, root=folder / "runs"
        )
        assert Counter(outcome.status for outcome in outcomes)["found"] == n_before[-1]
        assert before.items() <= contents(folder / "runs").items()
        assert_whole(folder, 2)
    assert set(n_before) == {0, 1}  # both cells were hit


@pytest.mark.slow
def test_killed_again_and_again_at_random_moments(tmp_path, processes):
    chance, n_killed, n = random.Random(1), 0, 8
    while True:
        before, begun = contents(tmp_path / "runs"), n_begun(tmp_path)
        child = Child(processes, tmp_path, n, sweep_cells.slow)
        further = chance.randint(0, 3)
        wait_until(lambda: n_begun(tmp_path) >= begun + further or child.connection.poll())  # noqa: B023
        time.sleep(chance.uniform(0.0, 0.06))  # of a cell's about 0.1 s
        child.process.kill()
        if child.end() is not None:
            break
        n_killed += 1
        assert before.items() <= contents(tmp_path / "runs").items()
    assert n_killed >= 2
    assert_whole(tmp_path, n)


def n_begun(folder: Path) -> int:
    return sum(len(moments) for moments in traced(folder).values())


@pytest.mark.slow
def test_two_processes_share_the_cells(tmp_path, processes):
    children = [Child(processes, tmp_path, 6, sweep_cells.slow) for _ in range(2)]
    (_, one), (_, other) = [child.end() or (0, []) for child in children]
    for statuses in zip(one, other, strict=True):
        assert sorted(statuses) == ["finished", "found"]
    assert {alpha: len(moments) for alpha, moments in traced(tmp_path).items()} == {
        config.alpha: 1 for config in configs(tmp_path, 6)
    }
    assert_whole(tmp_path, 6)


def test_a_cell_under_way_elsewhere_is_left_for_last_and_not_computed_twice(tmp_path, processes):
    root, settings = tmp_path / "runs", configs(tmp_path, 3)
    (root / LOCKS).mkdir(parents=True)
    with FileLock(root / LOCKS / f"similarity-{keys(settings)[0]}.lock"):
        child = Child(processes, tmp_path, 3, sweep_cells.computed)
        wait_until(lambda: len(finished(root)) == 2)  # it does the others meanwhile
        with start_run("similarity", settings[0], root=root) as run:
            tables = sweep_cells.computed(settings[0], run)
            run.save_table("values", tables["values"])
    result = child.end()
    assert result is not None
    assert result[1] == ["found", "finished", "finished"]
    assert_whole(tmp_path, 3)


@pytest.mark.slow
def test_the_lock_of_a_killed_process_does_not_block(tmp_path, processes):
    (tmp_path / "hold").touch()
    first = Child(processes, tmp_path, 1, sweep_cells.held)
    wait_until(lambda: traced(tmp_path))
    second = Child(processes, tmp_path, 1, sweep_cells.held)
    assert not second.connection.poll(0.2)  # it waits, and does not begin
    assert len(traced(tmp_path)[0.0]) == 1
    first.process.kill()
    assert first.end() is None
    wait_until(lambda: len(traced(tmp_path)[0.0]) == 2)
    (tmp_path / "hold").unlink()
    result = second.end()
    assert result is not None
    assert result[1] == ["finished"]
    assert_whole(tmp_path, 1)

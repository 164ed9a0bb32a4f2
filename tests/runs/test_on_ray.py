"""Sweeps on a local Ray cluster, whose start alone takes ten seconds: slow tests."""

import secrets

import pytest
import sweep_cells
from massive_data import LOCALES, write_classifiers, write_massive
from pandas.testing import assert_frame_equal
from sweep_cells import Settings, configs, finished, traced

from analyses.similarity_merging import analysis as similarity_merging
from analyses.similarity_merging.config import SimilarityMergingConfig
from lm_merge.evaluation.selected_sources import VOTES
from lm_merge.runs import collect, grid, grid_labels, on_ray, search, sweep
from lm_merge.runs.cells import run_cell
from lm_merge.runs.on_ray import _OnRay
from lm_merge.runs.record import read_record
from lm_merge.tuning.search.proposer import RecoveryProposer
from lm_merge.tuning.search.space import Parameter, SearchSpace


@pytest.fixture(scope="module")
def _ray():
    """Imported when a test of this file runs: it takes seconds."""
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'lm-merge[ray]'")


on_two_cpus = pytest.mark.parametrize("executor", [2], indirect=True)


@pytest.fixture(scope="module")
def executor(tmp_path_factory, request, _ray):
    with pytest.MonkeyPatch.context() as patch:
        token = tmp_path_factory.mktemp("ray") / "token"  # else Ray makes one in the home folder
        token.write_text(secrets.token_hex(32))
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        with on_ray(local_cpus=request.param) as executor:
            yield executor


@pytest.mark.slow
@on_two_cpus
def test_serial_and_ray_rows_are_equal(tmp_path, executor):
    values = {"alpha": [0.25, 0.75], "layers": [(1,), (1, 3)]}
    settings, labels = grid(Settings(folder=tmp_path), values), grid_labels(values)
    serial = sweep("similarity", settings, sweep_cells.computed, root=tmp_path / "serial")
    on_cluster = sweep(
        "similarity", settings, sweep_cells.computed, root=tmp_path / "ray", executor=executor
    )
    assert [outcome.status for outcome in on_cluster] == ["finished"] * 4
    assert {len(moments) for moments in traced(tmp_path).values()} == {4}  # 2 layers, both ways
    expected, tables = collect(serial, labels), collect(on_cluster, labels)
    assert set(tables) == set(expected)
    for name, table in tables.items():
        assert_frame_equal(table, expected[name], check_exact=True)
    again = sweep(
        "similarity", settings, sweep_cells.computed, root=tmp_path / "serial", executor=executor
    )
    assert [outcome.folder for outcome in again] == [outcome.folder for outcome in serial]


@pytest.mark.slow
@on_two_cpus
def test_failing_and_killed_cells_are_recorded_and_the_others_go_on(tmp_path, executor):
    options = {"root": tmp_path / "runs", "executor": executor}
    outcomes = sweep("similarity", configs(tmp_path, 4), sweep_cells.failing, **options)
    assert [outcome.status for outcome in outcomes] == [
        "finished",
        "finished",
        "failed",
        "finished",
    ]
    assert "alpha=0.5 is cursed" in read_record(outcomes[2].folder).error
    outcomes = sweep("similarity", configs(tmp_path, 4), sweep_cells.killed, **options)
    assert [outcome.status for outcome in outcomes] == ["found", "found", "failed", "found"]
    assert "WorkerCrashedError" in read_record(outcomes[2].folder).error
    begun = len(traced(tmp_path)[0.5])
    outcomes = sweep("similarity", configs(tmp_path, 4), sweep_cells.computed, **options)
    assert [outcome.status for outcome in outcomes] == ["found", "found", "finished", "found"]
    assert len(traced(tmp_path)[0.5]) == begun + 1
    assert set(finished(tmp_path / "runs").values()) == {1}


@pytest.mark.slow
@on_two_cpus
def test_workers_keep_models_from_cell_to_cell(tmp_path, executor):
    outcomes = sweep(
        "similarity",
        configs(tmp_path, 8),
        sweep_cells.loading,
        root=tmp_path / "runs",
        executor=executor,
        keep_bytes=2**30,
    )
    assert [outcome.status for outcome in outcomes] == ["finished"] * 8
    loaded = (tmp_path / "loaded").read_text().split()
    assert len(loaded) == len(set(loaded)) <= 4  # one model a process, not one a cell


@pytest.mark.slow
@on_two_cpus
def test_a_killed_worker_is_tried_again(tmp_path, executor):
    settings = configs(tmp_path, 2)
    outcomes = sweep(
        "similarity",
        settings,
        sweep_cells.killed_once,
        root=tmp_path / "runs",
        executor=executor,
        retries=1,
    )
    assert {outcome.status for outcome in outcomes} == {"finished"}
    assert len(traced(tmp_path)[0.5]) == 2


@pytest.mark.slow
@on_two_cpus
def test_merges_and_votes_of_many_targets_are_those_in_turn_though_a_worker_is_killed(
    tmp_path, executor
):
    data = write_massive(tmp_path)
    given = {"data": data, "sources": write_classifiers(tmp_path), "target": LOCALES[0]}
    given |= {"similarity": data / "uriel_syntax_knn_cos_52.csv", "n_sources": 2}
    methods = ["linear", "slerp", "norm_mean", "nuslerp", *VOTES]
    values = {"target": list(LOCALES), "method": methods}
    settings, labels = grid(SimilarityMergingConfig(**given), values), grid_labels(values)
    serial = sweep("merging", settings, similarity_merging.run, root=tmp_path / "serial")
    on_cluster = sweep(
        "merging",
        settings,
        sweep_cells.merging_killed_once,
        root=tmp_path / "ray",
        executor=executor,
        retries=1,
    )
    assert (tmp_path / "killed").exists()
    assert [outcome.status for outcome in on_cluster] == ["finished"] * len(LOCALES) * 8
    assert set(finished(tmp_path / "ray").values()) == {1}
    expected, tables = collect(serial, labels), collect(on_cluster, labels)
    for name, table in tables.items():
        assert_frame_equal(table, expected[name], check_exact=True)
    rows = tables["accuracy"].query("kind in ['merge', 'vote'] and partition == 'test'")
    assert len(rows) == len(LOCALES) * 8


@pytest.mark.slow
@on_two_cpus
def test_a_search_on_ray_has_the_rows_of_one_in_turn(tmp_path, executor):
    def rows(folder, executor=None):
        space = SearchSpace({"alpha": Parameter(low=0, high=1)})
        proposer = RecoveryProposer(
            space,
            lambda values: Settings(folder=tmp_path, **values),
            lambda trial: tuple(float(row["recovery"]) for row in trial.summary),
            n_start=2,
        )
        trials = search(
            "similarity",
            proposer,
            sweep_cells.recovered_above,
            n_trials=6,
            at_once=2,
            root=tmp_path / folder,
            executor=executor,
        )
        seen = [(point.tolist(), found) for point, found in proposer.seen]
        return [(one.config, one.outcome.status, one.summary) for one in trials], seen

    in_turn, seen = rows("serial")
    assert rows("ray", executor) == (in_turn, seen)
    assert {status for _, status, _ in in_turn} == {"finished", "failed"}


@pytest.mark.slow
@on_two_cpus
def test_a_request_that_no_node_can_satisfy_is_refused_at_once(executor):
    with pytest.raises(ValueError, match="cpus=64, gpus=0 for each cell"), on_ray(cpus=64.0):
        pass
    with pytest.raises(ValueError, match="the nodes have 2 CPUs and 0 GPUs"), on_ray(gpus=1.0):
        pass


class LostWorkers:
    """As much of Ray as the executor calls; the workers of some cells are killed."""

    class exceptions:  # noqa: N801 # Ray's name
        class RayError(Exception):
            pass

    def __init__(self, lost: set[float]) -> None:
        self.lost, self.retries = lost, set()

    def options(self, max_retries: int) -> "LostWorkers":
        self.retries.add(max_retries)
        return self

    def remote(self, cell, wait):
        return cell.config.alpha, lambda: run_cell(cell, wait)

    def wait(self, pending, num_returns):
        return pending[-num_returns:], pending[:-num_returns]  # the last one ends first

    def get(self, done):
        alpha, work = done
        if alpha in self.lost:
            raise self.exceptions.RayError("the worker died unexpectedly")
        return work()


def test_a_lost_worker_is_its_cell_s_failure_alone(tmp_path):
    ray = LostWorkers({1 / 3})
    outcomes = sweep(
        "similarity",
        configs(tmp_path, 3),
        sweep_cells.computed,
        root=tmp_path / "again",
        executor=_OnRay(ray, ray),
        retries=2,
    )
    assert [outcome.status for outcome in outcomes] == ["finished", "failed", "finished"]
    assert outcomes[1].message == "RayError: the worker died unexpectedly"
    assert "the worker died" in read_record(outcomes[1].folder).error
    assert ray.retries == {2}

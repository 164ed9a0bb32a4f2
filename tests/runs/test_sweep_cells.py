"""Sweeps in this process: grids, outcomes, failing cells, collected tables."""

import json

import pandas as pd
import pytest
import sweep_cells
from pandas.testing import assert_frame_equal
from sweep_cells import Settings, configs, finished, keys, traced

from lm_merge.runs import (
    Cell,
    cell_table,
    collect,
    grid,
    grid_labels,
    run_cell,
    sweep,
    with_values,
)
from lm_merge.runs.identity import config_hash
from lm_merge.runs.on_ray import check_satisfiable
from lm_merge.runs.record import read_record, start_run


def run(tmp_path, function=sweep_cells.computed, n: int = 4, **options):
    return sweep("similarity", configs(tmp_path, n), function, root=tmp_path / "runs", **options)


def test_a_grid_has_every_combination_and_the_last_name_turns_fastest():
    values = {"operator": ["lerp", "slerp"], "layers": [(1,), (3,), (1, 3)]}
    made = grid(Settings(alpha=0.25), values)
    assert [(one.operator, one.layers) for one in made] == [
        (operator, layers) for operator in values["operator"] for layers in values["layers"]
    ]
    assert {one.alpha for one in made} == {0.25}
    assert [label["layers"] for label in grid_labels(values)] == 2 * values["layers"]
    assert grid(Settings(), {}) == [Settings()]


def test_values_are_checked_and_what_was_not_given_stays_so():
    made = with_values(Settings(alpha=0.25), {"layers": [1, 2]})
    assert made.layers == (1, 2)
    assert made.model_fields_set == {"alpha", "layers"}
    nested = with_values(Settings(arguments={"a": 1.0, "b": 2.0}), {"arguments.b": 3.0})
    assert nested.arguments == {"a": 1.0, "b": 3.0}
    assert with_values(Settings(), {"arguments.b": 3.0}).arguments == {"b": 3.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": []}, r"grid alpha=\[\]: give a list of at least one value"),
        ({"operator": "slerp"}, "give a list"),
        ({"operatr": ["slerp"]}, "no 'operatr'; choose from alpha, operator"),
        ({"alpha": [0.5, "much"]}, r"grid cell {'alpha': 'much'}"),
        ({"alpha.x": [1]}, "x lies inside 0.5, which has no named entries"),
    ],
)
def test_a_wrong_grid_is_refused_with_a_sentence(values, message):
    with pytest.raises(ValueError, match=message):
        grid(Settings(), values)


def test_each_cell_has_a_record_and_is_found_the_second_time(tmp_path):
    seen = []
    first = run(tmp_path, on_outcome=seen.append)
    assert [outcome.status for outcome in first] == ["finished"] * 4
    assert seen == first
    for outcome, config in zip(first, configs(tmp_path, 4), strict=True):
        record = read_record(outcome.folder)
        assert (record.status, record.analysis) == ("finished", "similarity")
        assert record.config_hash == outcome.key == config_hash(config)
        assert record.config_given["alpha"] == config.alpha
    second = run(tmp_path)
    assert [outcome.status for outcome in second] == ["found"] * 4
    assert [outcome.folder for outcome in second] == [outcome.folder for outcome in first]
    assert all(len(moments) == 1 for moments in traced(tmp_path).values())


def test_a_run_made_without_a_sweep_is_found_and_fresh_computes_it_anew(tmp_path):
    config = configs(tmp_path, 4)[2]
    with start_run("similarity", config, root=tmp_path / "runs") as alone:
        alone.save_table("values", pd.DataFrame([{"value": 1.0}]))
    statuses = [outcome.status for outcome in run(tmp_path)]
    assert statuses == ["finished", "finished", "found", "finished"]
    assert [outcome.status for outcome in run(tmp_path, fresh=True)] == ["finished"] * 4
    assert set(finished(tmp_path / "runs").values()) == {2}


def test_a_failing_cell_is_recorded_and_the_others_go_on(tmp_path):
    outcomes = run(tmp_path, sweep_cells.failing)
    assert [outcome.status for outcome in outcomes] == [
        "finished",
        "finished",
        "failed",
        "finished",
    ]
    failed = outcomes[2]
    record = read_record(failed.folder)
    assert record.status == "failed"
    for part in ("Traceback", "ArithmeticError: alpha=0.5 is cursed", "sweep_cells.py"):
        assert part in failed.error
        assert part in record.error
    labels = grid_labels({"alpha": [0.0, 0.25, 0.5, 0.75]})
    assert set(collect(outcomes, labels)["values"].alpha) == {0.0, 0.25, 0.75}
    cells = cell_table(outcomes, labels)
    assert list(cells.status) == ["finished", "finished", "failed", "finished"]
    assert cells.error[2] == "ArithmeticError: alpha=0.5 is cursed"
    assert cells.error.isna().sum() == 3
    again = run(tmp_path)  # mended
    assert [outcome.status for outcome in again] == ["found", "found", "finished", "found"]


def test_the_error_of_a_cell_is_what_it_says_first_with_its_type(tmp_path):
    def invalid(config, record):
        Settings.model_validate({"alpha": "much"})

    def silent(config, record):
        raise KeyError

    labels = grid_labels({"alpha": [0.0]})
    told = {f: cell_table(run(tmp_path, f, n=1), labels).error[0] for f in (invalid, silent)}
    assert told[invalid] == "ValidationError: 1 validation error for Settings"
    assert told[silent] == "KeyError"


def test_retries_are_further_attempts_each_with_its_record(tmp_path):
    outcomes = run(tmp_path, sweep_cells.failing_once, n=2, retries=1)
    assert {outcome.status for outcome in outcomes} == {"finished"}
    assert {len(moments) for moments in traced(tmp_path).values()} == {2}
    records = [read_record(path.parent) for path in (tmp_path / "runs").glob("*/record.json")]
    assert sorted(record.status for record in records) == 2 * ["failed"] + 2 * ["finished"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_the_sweep(tmp_path, stop):
    def interrupted(config, record):
        raise stop

    with pytest.raises(stop):
        run(tmp_path, interrupted)
    (path,) = (tmp_path / "runs").glob("*/record.json")
    assert read_record(path.parent).status == "failed"


def test_what_cannot_be_swept_is_refused(tmp_path):
    one = Settings(folder=tmp_path)
    with pytest.raises(ValueError, match="configs is empty"):
        sweep("similarity", [], sweep_cells.computed, root=tmp_path)
    with pytest.raises(ValueError, match="cells 0 and 2 have the same configuration"):
        sweep("similarity", [one, *configs(tmp_path, 2)[:1], one], sweep_cells.computed)
    with pytest.raises(ValueError, match="retries=-1"):
        run(tmp_path, retries=-1)
    with pytest.raises(ValueError, match="at_once=0"):
        run(tmp_path, at_once=0)
    with pytest.raises(ValueError, match=r"analysis='\.\./up'"):
        sweep("../up", [one], sweep_cells.computed, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_collected_rows_are_those_of_the_cells_with_the_values_of_the_grid(tmp_path):
    values = {"alpha": [0.25, 0.75], "layers": [(1,), (1, 3)]}
    settings = grid(Settings(folder=tmp_path), values)
    outcomes = sweep("similarity", settings, sweep_cells.computed, root=tmp_path / "runs")
    tables = collect(outcomes, grid_labels(values))
    assert set(tables) == {"values", "total"}
    table = tables["values"]
    assert list(table) == ["alpha", "layers", "config_hash", "layer", "value"]
    for config, key in zip(settings, keys(settings), strict=True):
        rows = table[table.config_hash == key].reset_index(drop=True)
        assert set(rows.alpha) == {config.alpha}
        assert set(rows.layers) == {json.dumps(config.layers)}
        with start_run("alone", config, root=tmp_path / "alone") as record:
            expected = sweep_cells.computed(config, record)["values"]
        assert_frame_equal(rows[["layer", "value"]], expected, check_exact=True)


def test_a_column_of_the_cells_own_is_kept_and_not_repeated(tmp_path):
    def own(config, record):
        return {
            "values": pd.DataFrame([{"alpha": config.alpha, "operator": "other", "value": 1.0}])
        }

    labels = [{"alpha": 0.0, "operator": "lerp"}, {"alpha": 0.5, "operator": "slerp"}]
    table = collect(run(tmp_path, own, n=2), labels)["values"]
    assert list(table) == ["grid_operator", "config_hash", "alpha", "operator", "value"]
    assert list(table.alpha) == [0.0, 0.5]
    assert list(table.operator) == ["other", "other"]
    assert list(table.grid_operator) == ["lerp", "slerp"]


def test_columns_of_mixed_kinds_are_written_as_json_and_saved(tmp_path):
    labels = [{"base": None, "seed": 1, "x": None}, {"base": "host", "seed": [1], "x": True}]
    table = collect(run(tmp_path, n=2), labels)["total"]
    assert table.base.isna().tolist() == [True, False]
    assert list(table.seed) == ["1", "[1]"]
    table.to_parquet(tmp_path / "t.parquet")
    back = pd.read_parquet(tmp_path / "t.parquet")
    assert back.seed.tolist() == table.seed.tolist()
    assert back.base.isna().tolist() == [True, False]


def test_a_node_that_does_not_see_the_records_says_so(tmp_path):
    config = Settings(folder=tmp_path)
    cell = Cell("similarity", config_hash(config), config, sweep_cells.computed, tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match="all nodes of the cluster share"):
        run_cell(cell, wait=False)


@pytest.mark.parametrize(
    ("cpus", "gpus", "message"),
    [
        (3.0, 0.0, "cpus=3, gpus=0 for each cell: no node can ever give that"),
        (1.0, 1.5, "the nodes have 2 CPUs and 0 GPUs; 1 CPUs and 1 GPUs"),
        (2.0, 1.0, "no node can ever give that"),  # both, but not on one node
        (0.0, 0.0, "more than nothing"),
        (-1.0, 1.0, "more than nothing"),
    ],
)
def test_what_no_single_node_has_is_refused(cpus, gpus, message):
    nodes = [{"CPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}]
    with pytest.raises(ValueError, match=message):
        check_satisfiable(nodes, cpus=cpus, gpus=gpus)


@pytest.mark.parametrize(("cpus", "gpus"), [(2.0, 0.0), (1.0, 1.0), (0.0, 0.5)])
def test_what_one_node_has_is_granted(cpus, gpus):
    check_satisfiable([{"CPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}], cpus=cpus, gpus=gpus)

"""The decomposition analysis, whole: tables, findings, figures, commands."""

import json

import pytest

from analyses.decomposition.__main__ import main
from analyses.decomposition.config import DecompositionConfig
from figures import plot_decomposition_columns
from lm_merge import cli
from lm_merge.decomposition.saving import read_tensors

KEYS = [
    "experiment",
    "preset",
    "seed",
    "solved",
    "mmcs",
    "ml2r",
    "n_live",
    "pattern_error_01",
    "pattern_error_02",
    "mse_stochastic",
    "ci_l0",
    "faithfulness",
    "steps",
    "cpu_s",
]
FIT = {
    "steps": 2,
    "eval_every": 1,
    "batch": 32,
    "eval_batch": 64,
    "components": 12,
    "gate_width": 2,
}
TARGET = {"steps": 5, "n_features": 6, "n_neurons": 3, "d_model": 20}


def arguments(runs, **fit):
    return [
        "--experiment=resid_mlp_small", "--seeds=[0, 3]", f"--fit={json.dumps({**FIT, **fit})}",
        f"--target={json.dumps(TARGET)}", f"--runs={runs}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    main(arguments(runs))
    (found,) = runs.glob("*-decomposition-*")
    return found


def test_the_summary_has_a_row_for_each_seed(folder):
    rows = json.loads((folder / "summary.json").read_text())
    assert [list(row) for row in rows] == [KEYS, KEYS]
    assert [row["seed"] for row in rows] == [0, 3]
    assert not any(row["solved"] for row in rows)
    assert all(row["steps"] == 2 and row["pattern_error_01"] > 0 for row in rows)


def test_tables_figures_and_tensors_are_there(folder):
    names = {path.name for path in folder.iterdir()}
    assert {"metrics.parquet", "importances.html", "published.csv", "record.json"} <= names
    tensors, info = read_tensors(folder / "decomposition.safetensors")
    assert tensors["layers.0.mlp_in.U"].shape == (2, 3, 12)
    assert info["experiment"]["name"] == "resid_mlp_small"


def test_a_finished_run_is_found_and_its_checkpoint_gone(folder, capsys):
    main(arguments(folder.parent))
    assert "found the finished run" in capsys.readouterr().err
    assert not list((folder.parent / ".decomposition-checkpoints").iterdir())


def test_columns_need_the_layer(folder):
    import pandas as pd

    table = pd.read_parquet(folder / "columns.parquet")
    with pytest.raises(ValueError, match="layer='linear9' is not in the table"):
        plot_decomposition_columns(table, "linear9")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"experiment": "tms_5-3"}, "choose from tms_5-2"),
        ({"fit": {"stepps": 3}}, "stepps"),
        ({"fit": {"losses": {"importanze": {"weight": 1.0}}}}, "is unknown; choose from"),
    ],
)
def test_wrong_settings_are_refused(given, problem):
    with pytest.raises(ValueError, match=problem):
        _ = DecompositionConfig(**given).resolved


@pytest.mark.slow
def test_several_experiments_make_one_report(tmp_path, capsys):
    fit = json.dumps(FIT | {"steps": 1})
    words = ["decompose", "resid_mlp_small", "--seeds=[0]", f"--fit={fit}", f"--runs={tmp_path}"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 0
    assert "Importance of components" in (tmp_path / "decomposition-report.html").read_text()
    assert "resid_mlp_small, delta, 1 steps, n = 1 seeds: 0 solved" in capsys.readouterr().out

"""The summary of many runs, from records made here, against values computed by hand."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pydantic import BaseModel

from analyses.results_summary import analysis
from analyses.results_summary.config import ResultsSummaryConfig
from lm_merge.runs.record import start_run

ACCURACY = {  # target -> own, similarity linear, random linear (two seeds), similarity soft
    "sq-AL": (0.8, 0.6, (0.5, 0.6), 0.7),
    "th-TH": (0.7, 0.5, (0.5, 0.5), 0.5),
    "sw-KE": (0.9, 0.6, (0.4, 0.5), 0.65),
}


class OneTarget(BaseModel, frozen=True):
    target: str
    weights: str
    method: str


def rows(target: str, weights: str, method: str, values, own: float) -> pd.DataFrame:
    kind = "vote" if method == "soft" else "merge"
    shared = {"target": target, "weights": weights, "method": method}
    measured = {"low": 0.0, "high": 1.0, "n": 20}
    found = []
    for partition in ("dev", "test"):
        for seed, value in values:
            place = {"system": weights, "kind": kind, "seed": seed, "partition": partition}
            found.append({**shared, **place, "accuracy_frac": value, **measured})
        place = {"system": "own", "kind": "single", "seed": None, "partition": partition}
        found.append({**shared, **place, "accuracy_frac": own, **measured})
    return pd.DataFrame(found)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("records")
    sources = pd.DataFrame({"source": ["de-DE", "en-US"], "weight": [0.6, 0.4]})
    for target, (own, linear, drawn, soft) in ACCURACY.items():
        for weights, method, values in (
            ("similarity", "linear", [(None, linear)]),
            ("random", "linear", list(enumerate(drawn))),
            ("similarity", "soft", [(None, soft)]),
        ):
            config = OneTarget(target=target, weights=weights, method=method)
            with start_run("similarity_merging", config, root=root) as record:
                record.save_table("accuracy", rows(target, weights, method, values, own))
                record.save_table("sources", sources)
    broken = OneTarget(target="sw-KE", weights="similarity", method="ties")
    with (
        pytest.raises(ValueError, match="give base"),
        start_run("similarity_merging", broken, root=root),
    ):
        raise ValueError("method 'ties' needs an ancestor: give base")
    return root


def summarised(root: Path, out: Path, **options):
    config = ResultsSummaryConfig(folder=root, **options)
    with start_run("results_summary", config, root=out) as record:
        return analysis.run(config, record), record.folder, config


def test_tables_are_those_computed_by_hand(runs, tmp_path):
    tables, folder, config = summarised(runs, tmp_path)
    systems = tables["systems"].set_index("system")
    assert list(systems.index) == ["own", "similarity soft", "similarity linear", "random linear"]
    assert systems.mean_accuracy.tolist() == pytest.approx([0.8, 1.85 / 3, 1.7 / 3, 0.5])
    assert systems["rank"].tolist() == [1, 2, 3, 4]
    gains = tables["gains"].set_index("system")
    assert gains.loc["similarity linear", "mean_gain"] == pytest.approx(1.7 / 3 - 0.8)
    assert gains.loc["similarity linear", ["wins", "losses", "n_targets"]].tolist() == [0, 3, 3]
    assert gains.loc["similarity linear", "p_wilcoxon"] == pytest.approx(0.25)  # 2 / 2^3
    found = analysis.findings(tables, config)
    assert found[0]["system"] == "own"
    text = (folder / "summary.md").read_text()
    assert "| own | single | 0.8000 |" in text
    assert [figure[0] for figure in analysis.draw(tables, config)] == ["gains_by_target"]


def test_failures_are_named_and_do_not_count_as_0(runs, tmp_path):
    tables, folder, config = summarised(runs, tmp_path)
    row = tables["failures"].iloc[0]
    assert (row.target, row.method) == ("sw-KE", "ties")
    assert row.error == "ValueError: method 'ties' needs an ancestor: give base"
    assert "failed: sw-KE similarity ties" in analysis.summary(tables, config)
    assert "similarity ties" not in set(tables["systems"].system)


def test_targets_and_systems_are_chosen(runs, tmp_path):
    tables, *_ = summarised(runs, tmp_path, targets=("sq-AL",), systems=("similarity", "own"))
    assert set(tables["accuracy"].target) == {"sq-AL"}
    assert set(tables["systems"].system) == {"own", "similarity linear", "similarity soft"}
    with pytest.raises(ValueError, match="targets: xx-XX are in no finished run"):
        summarised(runs, tmp_path, targets=("xx-XX",))
    with pytest.raises(ValueError, match="has no finished run"):
        summarised(tmp_path / "empty", tmp_path)


def test_the_reference_layout_parses(runs, tmp_path):
    _, folder, _ = summarised(runs, tmp_path, layout="reference")
    read = {path.parent.name: json.loads(path.read_text()) for path in folder.rglob("results.json")}
    assert {"similarity_sq-AL", "ensemble_soft_th-TH", "random_sw-KE"} <= set(read)
    assert len(read) == 9
    performance = read["similarity_sq-AL"]["performance"]
    assert performance == {"accuracy": 0.6, "correct": 12, "total": 20, "error_rate": 0.4}
    assert read["ensemble_soft_th-TH"]["experiment_info"]["locale"] == "th-TH"
    assert read["random_sw-KE"]["sources"][0] == {"locale": "de-DE", "weight": 0.6}


class Choice(OneTarget):
    n_sources: int


class RoundsOfTarget(BaseModel, frozen=True):
    target: str
    method: str = "linear"
    merge_every: int
    seed: int = 0


def test_runs_that_differ_are_systems_of_their_own(tmp_path):
    for n_sources, value in ((3, 0.5), (5, 0.7)):
        config = Choice(target="sq-AL", weights="similarity", method="linear", n_sources=n_sources)
        with start_run("similarity_merging", config, root=tmp_path) as record:
            table = rows("sq-AL", "similarity", "linear", [(None, value)], 0.8)
            record.save_table("accuracy", table)
    tables, *_ = summarised(tmp_path, tmp_path / "out")
    found = tables["systems"].set_index("system").mean_accuracy.to_dict()
    names = [f"similarity linear, n_sources {n}" for n in (3, 5)]
    assert found == {"own": 0.8, names[0]: 0.5, names[1]: 0.7}


def test_rounds_are_read_next_to_merges(runs, tmp_path):
    root = tmp_path / "both"
    shutil.copytree(runs, root)
    for every, value in ((1, 0.75), (3, 0.65)):
        with start_run(
            "rounds", RoundsOfTarget(target="sq-AL", merge_every=every), root=root
        ) as one:
            measured = {"target": "sq-AL", "low": 0.0, "high": 1.0, "n": 20}
            table = [
                {**measured, "system": name, "partition": "test", "accuracy_frac": accuracy}
                for name, accuracy in (("rounds", value), ("source de-DE", 0.4))
            ]
            one.save_table("accuracy", pd.DataFrame(table))
            one.save_table("sources", pd.DataFrame({"source": ["de-DE"], "weight": [1.0]}))
    tables, folder, _ = summarised(root, tmp_path / "out", layout="reference")
    found = tables["accuracy"].set_index("system")
    assert found.loc["rounds linear, merge_every 1", "accuracy_frac"] == 0.75
    assert found.loc["rounds linear, merge_every 3", "accuracy_frac"] == 0.65
    assert found.loc["source de-DE after rounds linear, merge_every 3", "accuracy_frac"] == 0.4
    assert found.loc["rounds linear, merge_every 1", "kind"] == "rounds"
    gains = tables["gains"].set_index("system")
    assert gains.loc["rounds linear, merge_every 1", "mean_gain"] == pytest.approx(-0.05)
    written = {path.parent.name for path in folder.rglob("results.json")}
    assert {"iterative_linear_sq-AL", "similarity_sq-AL"} <= written
    assert len(written) == 11

"""Records: whole at every moment, honest about how a run ended, found again by their config."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, ConfigDict

from lm_merge.runs import record as records
from lm_merge.runs.identity import config_hash
from lm_merge.runs.lookup import find_finished
from lm_merge.runs.record import read_record, start_run
from lm_merge.runs.source_state import PACKAGES


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = 0.5
    layers: dict[int, float] = {3: 0.5}
    out: Path = Path("somewhere")


TABLE = pd.DataFrame({"layer": [0, 1], "metric": ["midness", "midness"], "value": [0.25, np.nan]})


def test_a_run_says_running_then_finished_with_all_it_was(tmp_path):
    with start_run("similarity", Settings(alpha=0.3), root=tmp_path) as run:
        assert json.loads((run.folder / "record.json").read_text())["status"] == "running"
        run.update(device="cpu", dtype="float32", seeds=[0, 1], models={"tiny-instruct": None})
        run.update(datasets={"judgebench": "abc"}, notes=["accepted: rope"])
        assert read_record(run.folder) == run.record
    record = read_record(run.folder)
    assert record.status == "finished"
    assert record.error is None
    assert record.config_given == {"alpha": 0.3}
    assert record.config_resolved == {"alpha": 0.3, "layers": {"3": 0.5}, "out": "somewhere"}
    assert record.config_hash == config_hash(Settings(alpha=0.3))
    assert (record.device, record.dtype, record.seeds) == ("cpu", "float32", (0, 1))
    assert (record.models, record.datasets) == ({"tiny-instruct": None}, {"judgebench": "abc"})
    assert record.notes == ("accepted: rope",)
    assert set(record.versions) == {"python", *PACKAGES}
    assert record.versions["numpy"] == np.__version__
    assert record.finished is not None
    assert record.started <= record.finished
    assert record.started.tzinfo == UTC
    stamp = f"{record.started:%Y%m%dT%H%M%SZ}"
    assert run.folder.name == f"{stamp}-similarity-{record.config_hash}"
    assert [path.name for path in run.folder.iterdir()] == ["record.json"]  # no draft stays


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_run_keeps_its_traceback_and_raises_on(tmp_path, error):
    def fail() -> None:
        with start_run("similarity", Settings(), root=tmp_path) as run:
            run.save_table("partial", TABLE)
            raise error("layer 31")

    with pytest.raises(error, match="layer 31"):
        fail()
    (folder,) = tmp_path.iterdir()
    record = read_record(folder)
    assert record.status == "failed"
    assert record.finished is not None
    assert record.files == ("partial.parquet", "partial.csv")
    for part in ("Traceback", error.__name__, "layer 31", Path(__file__).name):
        assert part in (record.error or "")


def test_what_the_user_gave_can_be_told_apart_from_what_the_parser_set(tmp_path):
    given = {"alpha": 0.5}
    with start_run("similarity", Settings(), root=tmp_path, config_given=given) as run:
        pass
    assert run.record.config_given == given
    assert run.record.config_resolved["out"] == "somewhere"


def test_the_record_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    with start_run("similarity", Settings(), root=tmp_path) as run:
        before = (run.folder / "record.json").read_bytes()
        full_disk = Mock(side_effect=OSError("disk full"))
        with monkeypatch.context() as patch:
            patch.setattr(records.os, "fsync", full_disk)
            with pytest.raises(OSError, match="disk full"):
                run.update(device="cpu")
        assert (run.folder / "record.json").read_bytes() == before
        assert run.record.device is None


def test_tables_come_back_as_they_were(tmp_path):
    with start_run("similarity", Settings(), root=tmp_path) as run:
        parquet = run.save_table("similarity", TABLE)
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), TABLE)
    pd.testing.assert_frame_equal(pd.read_csv(parquet.with_suffix(".csv")), TABLE)
    names = ("similarity.parquet", "similarity.csv")
    assert read_record(run.folder).files == names
    assert sorted(path.name for path in run.folder.iterdir()) == sorted([*names, "record.json"])


def test_files_are_listed_once_and_must_exist(tmp_path):
    outside = tmp_path / "report.html"
    outside.write_text("report")
    with start_run("similarity", Settings(), root=tmp_path / "runs") as run:
        (run.folder / "figures").mkdir()
        inside = run.folder / "figures" / "a.html"
        inside.write_text("figure")
        for path in (inside, outside, inside):
            run.add_file(path)
        with pytest.raises(FileNotFoundError, match="does not exist"):
            run.add_file(run.folder / "b.html")
    assert run.record.files == ("figures/a.html", str(outside))


def test_what_a_table_cannot_hold_is_refused(tmp_path):
    with start_run("similarity", Settings(), root=tmp_path) as run:
        with pytest.raises(ValueError, match=r"reset_index\(\)"):
            run.save_table("by_layer", TABLE.set_index("layer"))
        for name in ("", "../up", "a/b", "a--b"):
            with pytest.raises(ValueError, match="name="):
                run.save_table(name, TABLE)


def test_an_analysis_name_stays_inside_the_root(tmp_path):
    with (
        pytest.raises(ValueError, match="analysis="),
        start_run("../up", Settings(), root=tmp_path),
    ):
        pass
    with pytest.raises(ValueError, match="analysis="):
        find_finished(tmp_path, "*", Settings())


def test_runs_of_one_config_in_one_second_do_not_collide(tmp_path):
    def once(_: int) -> Path:
        with start_run("similarity", Settings(), root=tmp_path) as run:
            return run.folder

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(once, range(12)))
    assert len(set(folders)) == 12
    assert {read_record(folder).status for folder in folders} == {"finished"}


def test_an_infinite_setting_is_still_told_in_strict_json(tmp_path):
    with start_run("similarity", Settings(alpha=float("inf")), root=tmp_path) as run:
        pass
    text = (run.folder / "record.json").read_text()
    resolved = json.loads(text, parse_constant=pytest.fail)["config_resolved"]
    assert resolved["alpha"] == "Infinity"
    assert read_record(run.folder).status == "finished"


def test_no_environment_variable_reaches_the_record(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "not-for-the-record")
    with start_run("similarity", Settings(), root=tmp_path) as run:
        pass
    assert "not-for-the-record" not in (run.folder / "record.json").read_text()

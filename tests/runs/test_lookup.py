"""Finished runs are found again: by configuration, code and the runs that they read."""

from pathlib import Path

import pandas as pd
import pytest
from pydantic import BaseModel

from lm_merge.runs import lookup
from lm_merge.runs import record as records
from lm_merge.runs.identity import config_hash
from lm_merge.runs.lookup import find_finished, find_runs
from lm_merge.runs.record import RunRecord, read_record, run_id, start_run

TABLE = pd.DataFrame({"layer": [0, 1], "value": [0.25, 0.5]})


class Settings(BaseModel):
    alpha: float = 0.5


def finished(root: Path, **options) -> Path:
    with start_run("similarity", Settings(), root=root, **options) as run:
        pass
    return run.folder


def test_find_finished_returns_the_latest_finished_run(tmp_path):
    assert find_finished(tmp_path / "absent", "similarity", Settings()) is None
    with (
        pytest.raises(ValueError, match="layer 31"),
        start_run("similarity", Settings(), root=tmp_path),
    ):
        raise ValueError("layer 31")
    assert find_finished(tmp_path, "similarity", Settings()) is None
    folders = []
    for _ in range(2):
        with start_run("similarity", Settings(), root=tmp_path) as run:
            assert find_finished(tmp_path, "similarity", Settings()) in [None, *folders]
        folders.append(run.folder)
    with start_run("similarity", Settings(alpha=0.1), root=tmp_path):
        pass
    with start_run("layerwise", Settings(), root=tmp_path):
        pass
    assert find_finished(tmp_path, "similarity", Settings()) == folders[-1]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b'{"status": "finished"}', None]
)
def test_find_finished_passes_over_what_it_cannot_read(tmp_path, content):
    with start_run("similarity", Settings(), root=tmp_path) as run:
        pass
    good = run.folder
    bad = tmp_path / f"99991231T235959Z-similarity-{config_hash(Settings())}"
    bad.mkdir()
    if content is not None:
        (bad / "record.json").write_bytes(content)
    assert find_finished(tmp_path, "similarity", Settings()) == good


def test_find_finished_passes_over_a_run_of_which_a_file_is_gone(tmp_path):
    with start_run("similarity", Settings(), root=tmp_path) as run:
        table = run.save_table("similarity", TABLE)
    assert find_finished(tmp_path, "similarity", Settings()) == run.folder
    table.unlink()
    assert find_finished(tmp_path, "similarity", Settings()) is None


def test_a_run_of_other_code_is_not_found(tmp_path, monkeypatch):
    old = finished(tmp_path)
    assert find_finished(tmp_path, "similarity", Settings()) == old
    for module in (lookup, records):
        monkeypatch.setattr(module, "code_version", lambda config_class: "changed")
    assert find_finished(tmp_path, "similarity", Settings()) is None
    new = finished(tmp_path)
    assert read_record(new).code == "changed"
    assert find_finished(tmp_path, "similarity", Settings()) == new


def test_a_record_from_before_code_was_noted_is_read_and_not_taken_over(tmp_path):
    folder = finished(tmp_path)
    old = read_record(folder).model_dump(mode="json", exclude={"code", "needs"})
    (folder / "record.json").write_text(RunRecord(**old).model_dump_json(exclude={"code", "needs"}))
    assert read_record(folder).status == "finished"
    assert find_finished(tmp_path, "similarity", Settings()) is None


def test_a_run_that_read_other_runs_is_not_found(tmp_path):
    with start_run("source", Settings(alpha=0.1), root=tmp_path) as source:
        pass
    first = finished(tmp_path, needs=[source.folder])
    needs = [run_id(source.record)]
    assert read_record(first).needs == {needs[0]: source.folder.name}
    assert find_finished(tmp_path, "similarity", Settings()) is None
    assert find_finished(tmp_path, "similarity", Settings(), needs) == first
    assert find_finished(tmp_path, "similarity", Settings(), [*needs, "other-0"]) is None


def test_all_runs_are_found_in_their_order_however_they_ended(tmp_path):
    with (
        pytest.raises(ValueError, match="layer 31"),
        start_run("similarity", Settings(), root=tmp_path),
    ):
        raise ValueError("layer 31")
    second = finished(tmp_path)
    found = find_runs(tmp_path, "similarity", Settings())
    assert [record.status for _, record in found] == ["failed", "finished"]
    assert found[1][0] == second

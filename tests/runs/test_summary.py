"""The findings of a run as data: JSON that any reader takes, or a sentence that says why not."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from lm_merge.runs.record import read_record, start_run
from lm_merge.runs.summary import read_summary


class Settings(BaseModel):
    alpha: float = 0.5


def saved(tmp_path, rows):
    with start_run("similarity", Settings(), root=tmp_path) as run:
        run.save_summary(rows)
    return run.folder


def test_findings_are_rows_of_strict_json_that_the_record_lists(tmp_path):
    rows = [
        {"metric": "midness", "value": np.float32(0.5), "n": np.int64(3), "higher": np.bool_(True)},
        {"metric": "café", "value": float("nan"), "n": 0, "higher": None},
        {"metric": "ratio", "value": float("inf"), "n": 1, "higher": False},
    ]
    folder = saved(tmp_path, rows)
    text = (folder / "summary.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=pytest.fail)
    assert found == read_summary(folder)
    assert found == [
        {"metric": "midness", "value": 0.5, "n": 3, "higher": True},
        {"metric": "café", "value": None, "n": 0, "higher": None},
        {"metric": "ratio", "value": "Infinity", "n": 1, "higher": False},
    ]
    assert float(found[2]["value"]) == float("inf")
    assert read_record(folder).files == ("summary.json",)
    assert sorted(path.name for path in folder.iterdir()) == ["record.json", "summary.json"]


def test_rows_of_a_table_are_findings_and_the_last_call_counts(tmp_path):
    table = pd.DataFrame({"layer": [0, 1], "value": [0.25, np.nan], "operator": ["lerp", None]})
    with start_run("similarity", Settings(), root=tmp_path) as run:
        run.save_summary([{"value": 1.0}])
        run.save_summary(table.to_dict("records"))
    assert read_summary(run.folder) == [
        {"layer": 0, "value": 0.25, "operator": "lerp"},
        {"layer": 1, "value": None, "operator": None},
    ]
    assert run.record.files == ("summary.json",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row"),
        ([{"value": 1.0}, {}], "each row at least one key"),
        ([{"value": 1.0}, {"Value": 1.0}], "row 1 of the summary has the key 'Value'"),
        ([{3: 1.0}], "has the key 3"),
        ([{"values": [1.0, 2.0]}], r"values=\[1.0, 2.0\] of type list"),
        ([{"value": np.zeros(1)}], "of type ndarray"),
        ([{"nested": {"a": 1}}], "of type dict"),
    ],
)
def test_what_is_no_flat_row_is_refused_and_not_written(tmp_path, rows, message):
    with (
        start_run("similarity", Settings(), root=tmp_path) as run,
        pytest.raises(ValueError, match=message),
    ):
        run.save_summary(rows)
    assert run.record.files == ()
    with pytest.raises(FileNotFoundError, match="record.save_summary"):
        read_summary(run.folder)


def test_runs_are_imported_without_torch_and_pandas():
    code = "import lm_merge.runs, sys; print({'torch', 'pandas', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

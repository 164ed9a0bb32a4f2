"""All runs in one table, and all findings about one task."""

import json

import pytest
from pydantic import BaseModel

from lm_merge.cli import main
from lm_merge.runs.listing import run_rows, task_rows, tasks_of
from lm_merge.runs.record import start_run


class Config(BaseModel):
    n: int = 1


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "runs"
    for n, task in enumerate(("sums", "differences")):
        with start_run("adapters", Config(n=n), root=root) as run:
            run.update(models={"tiny-instruct": None})
            run.save_summary([{"task": task, "merged": 0.5 + n}, {"task": "both", "merged": 0.25}])
    with pytest.raises(KeyError), start_run("similarity", Config(), root=root):
        raise KeyError
    (root / "no-record").mkdir()
    return root


def test_every_run_is_a_row_and_a_failed_one_says_so(root):
    rows = run_rows(root)
    assert [(row["analysis"], row["status"]) for row in rows] == [
        ("adapters", "finished"),
        ("adapters", "finished"),
        ("similarity", "failed"),
    ]
    assert [row["n_findings"] for row in rows] == [2, 2, 0]
    assert len(run_rows(root, "similarity")) == 1


def test_the_findings_about_a_task_come_from_all_runs(root):
    assert [row["merged"] for row in task_rows(root, "both")] == [0.25, 0.25]
    assert [row["merged"] for row in task_rows(root, "sums", "adapters")] == [0.5]
    assert tasks_of(root) == ["both", "differences", "sums"]


def test_the_command_prints_and_exports_the_same_rows(root, tmp_path, capsys):
    file = tmp_path / "rows.json"
    main(["runs", "--runs", str(root), "--task", "both", "--export", str(file)])
    assert "0.25" in capsys.readouterr().out
    assert json.loads(file.read_text()) == task_rows(root, "both")
    with pytest.raises(SystemExit):
        main(["runs", "--runs", str(root), "--task", "sum"])
    assert "there are findings about: both, differences, sums" in capsys.readouterr().err

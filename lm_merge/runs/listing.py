"""All runs of a folder as rows, and the findings of all runs about one task."""

from pathlib import Path

from pydantic import ValidationError

from lm_merge.runs.record import RECORD_FILE, RunRecord, read_record
from lm_merge.runs.summary import SUMMARY_FILE, Value, read_summary


def run_rows(root: Path, analysis: str | None = None) -> list[dict[str, Value]]:
    """One row a run, the earliest first: run, analysis, status, started, seconds, models, n_findings.

    seconds: None while it runs. models: names, joined by commas. analysis: only its runs. Folders whose
    record cannot be read are passed over.
    """
    return [_row(folder, record) for folder, record in _records(root, analysis)]


def task_rows(root: Path, task: str, analysis: str | None = None) -> list[dict[str, Value]]:
    """The findings of all finished runs whose `task` is this one, each with its run and analysis."""
    found: list[dict[str, Value]] = []
    for folder, record in _records(root, analysis):
        if record.status != "finished" or not (folder / SUMMARY_FILE).is_file():
            continue
        own: dict[str, Value] = {"run": folder.name, "analysis": record.analysis}
        found += [own | row for row in read_summary(folder) if row.get("task") == task]
    return found


def tasks_of(root: Path, analysis: str | None = None) -> list[str]:
    """Every task that a finding is about, in alphabetical order."""
    found: set[str] = set()
    for folder, _ in _records(root, analysis):
        if (folder / SUMMARY_FILE).is_file():
            found |= {str(row["task"]) for row in read_summary(folder) if row.get("task")}
    return sorted(found)


def _records(root: Path, analysis: str | None) -> list[tuple[Path, RunRecord]]:
    found: list[tuple[Path, RunRecord]] = []
    for path in root.glob(f"*/{RECORD_FILE}"):
        try:
            record = read_record(path.parent)
        except (OSError, ValidationError):
            continue
        if analysis in (None, record.analysis):
            found.append((path.parent, record))
    return sorted(found, key=lambda one: (one[1].started, one[0]))


def _row(folder: Path, record: RunRecord) -> dict[str, Value]:
    seconds = None
    if record.finished is not None:
        seconds = round((record.finished - record.started).total_seconds(), 1)
    has_summary = (folder / SUMMARY_FILE).is_file()
    return {
        "run": folder.name,
        "analysis": record.analysis,
        "status": record.status,
        "started": f"{record.started:%Y-%m-%d %H:%M:%S}",
        "seconds": seconds,
        "models": ", ".join(record.models),
        "n_findings": len(read_summary(folder)) if has_summary else 0,
    }

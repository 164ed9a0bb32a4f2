"""Runs that computed the same thing before: same analysis, configuration, inputs and code."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from lm_merge.runs.identity import code_version, config_hash
from lm_merge.runs.record import RunRecord, checked_name, read_record


def find_runs(
    root: Path, analysis: str, config: BaseModel, needs: Iterable[str] = ()
) -> list[tuple[Path, RunRecord]]:
    """Folder and record of every run with this identity, however it ended, the latest last.

    needs: identities (`run_id`) of the runs that it must have read. Records that cannot be read are
    passed over.
    """
    key, code = config_hash(config), code_version(type(config))
    found: list[tuple[Path, RunRecord]] = []
    for folder in root.glob(f"*-{checked_name(analysis, 'analysis')}-{key}*"):
        try:
            record = read_record(folder)
        except (OSError, ValidationError):
            continue
        same = (record.analysis, record.config_hash, record.code) == (analysis, key, code)
        if same and set(record.needs) == set(needs):
            found.append((folder, record))
    return sorted(found, key=lambda one: (one[1].started, one[0]))


def find_finished(
    root: Path, analysis: str, config: BaseModel, needs: Iterable[str] = ()
) -> Path | None:
    """Folder of the latest finished run with this identity, or None.

    A run of which a listed file is gone does not count.
    """
    for folder, record in reversed(find_runs(root, analysis, config, needs)):
        if record.status == "finished" and all((folder / name).exists() for name in record.files):
            return folder
    return None

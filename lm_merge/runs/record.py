"""What ran, on what, and which files came out: `runs/<utc>-<analysis>-<hash>/record.json`.

    with start_run("similarity", config, root=Path("runs")) as run:
        run.update(device="cpu", models={"tiny-instruct": None})
        run.save_table("similarity", table)
        run.save_summary([{"metric": "midness", "value": 0.98, "low": 0.97, "high": 0.99, "n": 64}])

The record says "running" from the start and "finished" or "failed" at the end, and is replaced
atomically, so that it is whole at every moment. A process that is killed leaves "running" behind.
Nothing here reads environment variables into a record.
"""

import os
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from lm_merge.runs.identity import code_version, config_hash
from lm_merge.runs.source_state import SOURCE_TREE, package_versions, source_state
from lm_merge.runs.summary import SUMMARY_FILE, summary_text

if TYPE_CHECKING:
    import pandas as pd

RECORD_FILE = "record.json"
NAME = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")


class RunRecord(BaseModel):
    """The content of `record.json`."""

    # infinities of a config would otherwise become null
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[1] = 1
    analysis: str = Field(description="name of the analysis")
    config_given: dict[str, Any] = Field(description="the settings that were given")
    config_resolved: dict[str, Any] = Field(description="all settings, defaults included")
    config_hash: str = Field(description="see `config_hash`")
    code: str | None = Field(default=None, description="see `code_version`")
    commit: str | None = Field(description="commit of lm_merge's source tree; None outside git")
    dirty: bool | None = Field(description="whether that tree differs from the commit")
    versions: dict[str, str | None] = Field(description="package -> version; None if absent")
    models: dict[str, str | None] = Field(default={}, description="model -> revision")
    needs: dict[str, str] = Field(
        default={}, description="runs that this one read: analysis and hash -> folder"
    )
    datasets: dict[str, str | None] = Field(default={}, description="data set -> revision")
    device: str | None = Field(default=None, description="where it ran, for example cuda:0")
    dtype: str | None = Field(default=None, description="element type of the models")
    seeds: tuple[int, ...] = Field(default=(), description="every seed that was set")
    notes: tuple[str, ...] = Field(default=(), description="departures a reader must know of")
    started: AwareDatetime = Field(description="UTC")
    finished: AwareDatetime | None = Field(default=None, description="UTC; None while running")
    status: Literal["running", "finished", "failed"] = "running"
    error: str | None = Field(default=None, description="traceback of a failed run")
    files: tuple[str, ...] = Field(
        default=(), description="what came out; relative to the record where it lies next to it"
    )


class Run:
    """A run under way: its folder, and its record, which is on disk after every change."""

    def __init__(self, folder: Path, record: RunRecord, needs: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.needs = tuple(needs)
        """Folders of the finished runs that this one reads, in the order given."""
        self._record = record
        _replace(folder / RECORD_FILE, _text(record))

    @property
    def record(self) -> RunRecord:
        """The record at this moment."""
        return self._record

    def update(
        self,
        *,
        models: Mapping[str, str | None] | None = None,
        datasets: Mapping[str, str | None] | None = None,
        device: str | None = None,
        dtype: str | None = None,
        seeds: Sequence[int] | None = None,
        notes: Sequence[str] | None = None,
    ) -> None:
        """Put what has become known into the record; each argument replaces its field."""
        changes = {
            "models": models,
            "datasets": datasets,
            "device": device,
            "dtype": dtype,
            "seeds": seeds,
            "notes": notes,
        }
        self._change(**{key: value for key, value in changes.items() if value is not None})

    def add_file(self, path: Path) -> Path:
        """List a file or folder that this run wrote; one outside its folder by absolute path."""
        path = path.absolute()
        if not path.exists():
            raise FileNotFoundError(f"path={str(path)!r} does not exist: write it, then add it")
        inside = path.is_relative_to(self.folder)
        name = path.relative_to(self.folder).as_posix() if inside else str(path)
        if name not in self._record.files:
            self._change(files=(*self._record.files, name))
        return path

    def save_table(self, name: str, table: "pd.DataFrame") -> Path:
        """Write a tidy table as `<name>.parquet` and `<name>.csv`; returns the Parquet file."""
        labels = [label for label in table.index.names if label is not None]
        if labels:
            raise ValueError(
                f"the index {labels} of table {name!r} would be lost: call reset_index() first"
            )
        parquet = self.folder / f"{checked_name(name, 'name')}.parquet"
        table.to_parquet(parquet, index=False)
        table.to_csv(parquet.with_suffix(".csv"), index=False)
        self.add_file(parquet)
        self.add_file(parquet.with_suffix(".csv"))
        return parquet

    def save_summary(self, rows: Iterable[Mapping[str, object]]) -> Path:
        """Write the findings as `summary.json`, a list of flat rows; returns the file.

        NaN becomes null. Raises ValueError, and writes nothing, for rows that `summary_rows` refuses.
        """
        path = self.folder / SUMMARY_FILE
        _replace(path, summary_text(rows))
        return self.add_file(path)

    def _change(self, **changes: Any) -> None:
        record = RunRecord.model_validate({**dict(self._record), **changes})
        _replace(self.folder / RECORD_FILE, _text(record))
        self._record = record

    def _close(self, status: str, error: str | None) -> None:
        self._change(status=status, error=error, finished=datetime.now(UTC))


@contextmanager
def start_run(
    analysis: str,
    config: BaseModel,
    *,
    root: Path = Path("runs"),
    config_given: Mapping[str, Any] | None = None,
    needs: Sequence[Path] = (),
) -> Iterator[Run]:
    """Open a run in a new folder under `root`; on leaving, say how it ended.

    `config_given` defaults to the fields of `config` that were set; a caller whose parser sets
    them all passes what its user wrote. `needs`: folders of finished runs that this one reads. An
    exception is recorded with its traceback and raised on.
    """
    record = RunRecord(
        analysis=checked_name(analysis, "analysis"),
        config_given=config.model_dump(mode="json", exclude_unset=True)
        if config_given is None
        else dict(config_given),
        config_resolved=config.model_dump(mode="json"),
        config_hash=config_hash(config),
        code=code_version(type(config)),
        needs={run_id(read_record(folder)): folder.name for folder in needs},
        **source_state(SOURCE_TREE),
        versions=package_versions(),
        started=datetime.now(UTC),
    )
    run = Run(_new_folder(root, record), record, needs)
    try:
        yield run
    except BaseException as error:  # an interrupt, too, must not leave "running" behind
        run._close("failed", "".join(traceback.format_exception(error)))
        raise
    run._close("finished", None)


def run_id(record: RunRecord) -> str:
    """What a run computed, for example similarity-d31db40693cd."""
    return f"{record.analysis}-{record.config_hash}"


def read_record(folder: Path) -> RunRecord:
    """The record in a run's folder."""
    return RunRecord.model_validate_json((folder / RECORD_FILE).read_bytes())


def checked_name(name: str, argument: str) -> str:
    """The name, if it can be part of a folder's name."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{argument}={name!r}: only letters, digits, _ and single - between them")
    return name


def _new_folder(root: Path, record: RunRecord) -> Path:
    stem = f"{record.started:%Y%m%dT%H%M%SZ}-{record.analysis}-{record.config_hash}"
    folder, copy = root.absolute() / stem, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:  # the same config in the same second
            copy += 1
            folder = folder.with_name(f"{stem}-{copy}")


def _text(record: RunRecord) -> str:
    return record.model_dump_json(indent=2) + "\n"


def _replace(path: Path, text: str) -> None:
    """Write the file so that it holds the old text or the new one whole, whatever happens."""
    draft = path.with_name(path.name + ".draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)

"""What ran, on what, and which files came out: `runs/<utc>-<analysis>-<hash>/record.json`.

    with start_run("similarity", config, root=Path("runs")) as run:
        run.update(device="cpu", models={"tiny-instruct": None})
        run.save_table("similarity", table)
        run.save_summary([{"metric": "midness", "value": 0.98, "low": 0.97, "high": 0.99, "n": 64}])

The record says "running" from the start and "finished" or "failed" at the end, and is replaced
atomically, so that it is whole at every moment. A process that is killed leaves "running" behind.
Nothing here reads environment variables into a record.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from lm_merge.runs.summary import SUMMARY_FILE, summary_text

if TYPE_CHECKING:
    import pandas as pd

RECORD_FILE = "record.json"
PACKAGES = ("lm-merge", "numpy", "torch", "transformer-lens", "transformers")
SOURCE_TREE = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")
N_HASH_DIGITS = 12
_ENDS = 2**20  # bytes read at either end of a file for its fingerprint


class RunRecord(BaseModel):
    """The content of `record.json`."""

    # infinities of a config would otherwise become null
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[1] = 1
    analysis: str = Field(description="name of the analysis")
    config_given: dict[str, Any] = Field(description="the settings that were given")
    config_resolved: dict[str, Any] = Field(description="all settings, defaults included")
    config_hash: str = Field(description="see `config_hash`")
    commit: str | None = Field(description="commit of lm_merge's source tree; None outside git")
    dirty: bool | None = Field(description="whether that tree differs from the commit")
    versions: dict[str, str | None] = Field(description="package -> version; None if absent")
    models: dict[str, str | None] = Field(default={}, description="model -> revision")
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
        default=(), description="what came out; relative to the record where it lies beside it"
    )


class Run:
    """A run under way: its folder, and its record, which is on disk after every change."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self.folder = folder
        self._record = record
        _replace(folder / RECORD_FILE, _text(record))

    @property
    def record(self) -> RunRecord:
        """The record as it stands."""
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
        parquet = self.folder / f"{_checked(name, 'name')}.parquet"
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
) -> Iterator[Run]:
    """Open a run in a new folder under `root`; on leaving, say how it ended.

    `config_given` defaults to the fields of `config` that were set; a caller whose parser sets
    them all passes what its user wrote. An exception is recorded with its traceback and raised on.
    """
    record = RunRecord(
        analysis=_checked(analysis, "analysis"),
        config_given=config.model_dump(mode="json", exclude_unset=True)
        if config_given is None
        else dict(config_given),
        config_resolved=config.model_dump(mode="json"),
        config_hash=config_hash(config),
        **_source_state(SOURCE_TREE),
        versions=_versions(),
        started=datetime.now(UTC),
    )
    run = Run(_new_folder(root, record), record)
    try:
        yield run
    except BaseException as error:  # an interrupt, too, must not leave "running" behind
        run._close("failed", "".join(traceback.format_exception(error)))
        raise
    run._close("finished", None)


def config_hash(config: BaseModel) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the resolved config as canonical JSON.

    Sets have no order to hash: a config holds tuples instead.
    """
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:N_HASH_DIGITS]


def fingerprint(path: Path) -> str | None:
    """Short digest of a file, or of the files of a folder, by names, sizes, first and last bytes.

    Reads a megabyte at either end of a file, so that large weights cost nothing. None where nothing
    is there (a hub name).
    """
    if not path.exists():
        return None
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name if file == path else file.relative_to(path)} {size}\n".encode())
        with file.open("rb") as content:
            digest.update(content.read(_ENDS))
            content.seek(max(0, size - _ENDS))
            digest.update(content.read(_ENDS))
    return digest.hexdigest()[:N_HASH_DIGITS]


def read_record(folder: Path) -> RunRecord:
    """The record in a run's folder."""
    return RunRecord.model_validate_json((folder / RECORD_FILE).read_bytes())


def find_finished(root: Path, analysis: str, config_hash: str) -> Path | None:
    """Folder of the latest finished run with this analysis and config, or None.

    Passed over: records that cannot be read, and runs of which a listed file is gone.
    """
    pattern = f"*-{_checked(analysis, 'analysis')}-{_checked(config_hash, 'config_hash')}*"
    found: list[tuple[datetime, Path]] = []
    for folder in root.glob(pattern):
        try:
            record = read_record(folder)
        except (OSError, ValidationError):
            continue
        same = (record.analysis, record.config_hash) == (analysis, config_hash)
        whole = all((folder / name).exists() for name in record.files)
        if record.status == "finished" and same and whole:
            found.append((record.started, folder))
    return max(found)[1] if found else None


def _checked(name: str, argument: str) -> str:
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


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _source_state(tree: Path) -> dict[str, Any]:
    """Commit and dirty flag of `tree`; None where it is not itself a git checkout.

    An installed copy may lie inside some other project's repository: that commit is not ours.
    """
    unknown = {"commit": None, "dirty": None}
    top = _git(tree, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != tree.resolve():
        return unknown
    commit = _git(tree, "rev-parse", "--verify", "--quiet", "HEAD")
    changes = _git(tree, "status", "--porcelain")
    if commit is None or changes is None:
        return unknown
    return {"commit": commit, "dirty": bool(changes)}


def _git(tree: Path, *arguments: str) -> str | None:
    # inside a git hook, variables such as GIT_DIR point at another repository
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(tree), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except FileNotFoundError:  # git is not installed
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""Files of a user's, read with errors that name the file, the line, the value and what is allowed."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

RowT = TypeVar("RowT", bound=BaseModel)
_LONGEST = 80  # characters of a value in a message


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8. Raises ValueError with the file's name for another encoding."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None


def read_rows(path: str | Path, kind: type[RowT]) -> list[RowT]:
    """The rows of a JSONL file, one JSON object a line, checked by a pydantic model; blank lines count
    for nothing. Raises ValueError with file, line and value for the first line that does not fit.
    """
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(kind.model_validate_json(line))
        except ValidationError as error:
            raise ValueError(f"{path}, line {number}: {_first(error)}") from None
    return rows


def _first(error: ValidationError) -> str:
    """The first thing that is wrong with a line, in one sentence."""
    found = error.errors(include_url=False)[0]
    place, reason = ".".join(map(str, found["loc"])), found["msg"].removeprefix("Value error, ")
    if found["type"] == "json_invalid":
        return f"{reason}; give one JSON object a line"
    if found["type"] == "missing":
        return f"{place}: {reason}"
    if found["type"] == "value_error":  # its own sentence names the value
        return reason
    value = repr(found["input"])
    shown = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
    return (
        f"{place}={shown}: {reason}" if place else f"{shown}: {reason}; give one JSON object a line"
    )

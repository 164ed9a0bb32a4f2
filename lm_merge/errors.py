"""Errors that a user can mend, said in one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from pydantic import ValidationError

USER_ERRORS = (
    ValueError,
    OSError,
    KeyError,
    ArithmeticError,
    ModuleNotFoundError,  # an extra that is not installed; the text names it
    yaml.YAMLError,
)


@contextmanager
def one_line_errors(prog: str) -> Iterator[None]:
    """Errors that a user can mend end the program with one line and status 2."""
    try:
        yield
    except USER_ERRORS as error:
        sys.stderr.write(f"{prog}: {one_line(error)}\n")
        sys.exit(2)


def one_line(error: Exception) -> str:
    """What an error says, without the frame that a library puts around it."""
    if isinstance(error, ValidationError):
        return "; ".join(_problem(one) for one in error.errors())
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _problem(found: Any) -> str:
    place = ".".join(map(str, found["loc"]))
    if found["type"] == "extra_forbidden":
        return f"unknown key {place!r}; leave it out or correct its name"
    said = found["msg"].removeprefix("Value error, ")
    if found["type"] == "value_error" or not place:
        return said
    return f"{place}={found['input']!r}: {said}"

"""Errors that a user can mend, stated in one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from reprlib import Repr
from typing import Any

import yaml
from pydantic import ValidationError

INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended
EXTRA_OF = {"plotly": "figures", "sklearn": "analyses"}  # package that is imported -> extra
USER_ERRORS = (
    ValueError,
    OSError,
    KeyError,
    ArithmeticError,
    ModuleNotFoundError,  # an extra that is not installed; the text names it
    yaml.YAMLError,
)
TYPES = ("str", "float", "bool", "int", "ModelSource", "constrained-str", "constrained-float")
N_SHOWN = 5  # problems in one message
SHORT = Repr()
SHORT.maxlevel = 2
SHORT.maxstring = SHORT.maxother = 100


@contextmanager
def one_line_errors(prog: str) -> Iterator[None]:
    """Errors that a user can mend end the program with one line and status 2, Ctrl-C with 130."""
    try:
        yield
    except USER_ERRORS as error:
        sys.stderr.write(f"{prog}: {one_line(error)}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write(f"{prog}: interrupted\n")
        sys.exit(INTERRUPTED)


def one_line(error: Exception) -> str:
    """What an error says, without the frame that a library puts around it."""
    if isinstance(error, ValidationError):
        return _problems(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"
    if isinstance(error, ModuleNotFoundError) and (extra := _extra(error)):
        return f"this needs the package {error.name}: pip install 'lm-merge[{extra}]'"
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def short(value: object) -> str:
    """A value as Python writes it, shortened where it is long."""
    return SHORT.repr(value)


def _problems(error: ValidationError) -> str:
    """What pydantic found, each place once: the types of a union are alternatives."""
    found: dict[str, list[str]] = {}
    for one in error.errors():
        place, problem = _problem(one)
        if problem not in found.setdefault(place, []):
            found[place].append(problem)
    lines = [
        place
        + ", or ".join([problem[0], *(one.removeprefix("Input should be ") for one in problem[1:])])
        for place, problem in found.items()
    ]
    more = [f"and {len(lines) - N_SHOWN} more"] if len(lines) > N_SHOWN else []
    return "; ".join([*lines[:N_SHOWN], *more])


def _extra(error: ModuleNotFoundError) -> str | None:
    return EXTRA_OF.get((error.name or "").partition(".")[0])


def _problem(found: Any) -> tuple[str, str]:
    """Place and value, without the names of types that were tried; and what is wrong there."""
    first, *inner = found["loc"] or ("",)
    place = ".".join(map(str, (first, *(one for one in inner if not _is_type(one)))))
    if found["type"] == "extra_forbidden":
        return f"unknown key {place!r}; leave it out or correct its name", ""
    problem = found["msg"].removeprefix("Value error, ")
    if found["type"] == "value_error" or not place:
        return problem, ""
    return f"{place}={short(found['input'])}: ", problem


def _is_type(part: str | int) -> bool:
    return isinstance(part, str) and (part in TYPES or part.endswith("]"))

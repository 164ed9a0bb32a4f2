"""Errors that a user can mend, said in one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

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
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.stderr.write(f"{prog}: {text}\n")
        sys.exit(2)

"""A command-line parser that says what is wrong in one line, without the list of all options."""

import re
import sys
from typing import Any, NoReturn

import jsonargparse

# what pydantic adds for programmers
_NOISE = re.compile(r"\[type=.*?, input_type=\w+\]|For further information visit \S+")


class OneLineParser(jsonargparse.ArgumentParser):
    """`ArgumentParser` whose errors end with one line and status 2; `--help` has the options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)  # raises
        parser = getattr(ex, "subcommand_parser", None) or self
        prog = parser.prog.replace(" [options]", "")
        sys.stderr.write(f"{prog}: {plain_message(message)} (options: {prog} --help)\n")
        sys.exit(2)


def plain_message(message: Any) -> str:
    """A parser's message in one line, without what a library adds for programmers.

    >>> plain_message('Parser key "n": 1 error\\n  Input is no number [type=int, input_type=str]')
    'n: 1 error Input is no number'
    """
    text = " ".join(_NOISE.sub("", str(message)).split())
    return re.sub(r'^Parser key "([\w.]+)":', r"\1:", text)

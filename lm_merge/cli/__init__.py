"""The `lm-merge` command: one module a subcommand, imported when it is asked for.

A module here imports at its top nothing that takes long, so that help is shown at once.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from lm_merge.errors import one_line_errors

COMMANDS = (
    "demo",
    "generate",
    "weights",
    "adapters",
    "check",
    "budget",
    "suggest",
    "sweep",
    "runs",
    "judge",
    "decompose",
    "explore",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; errors that a user can mend end with one line and status 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    with one_line_errors("lm-merge"):
        if not words or words[0] in ("-h", "--help"):
            print(overview())
            sys.exit(0)
        command = words[0]
        if command not in COMMANDS:
            sys.stderr.write(
                f"lm-merge: invalid choice: {command!r}; choose from {', '.join(COMMANDS)}\n"
            )
            sys.exit(2)
        import_module(f"lm_merge.cli.{command}").main(words[1:])


def overview() -> str:
    """The help of `lm-merge` itself: every command with the first line of its description."""
    lines = [
        "usage: lm-merge COMMAND [options]",
        "",
        "Compose language models in their representations and see what the composition did.",
        "",
        "commands (lm-merge COMMAND --help lists the options of one):",
    ]
    for command in COMMANDS:
        description = import_module(f"lm_merge.cli.{command}").__doc__ or ""
        lines.append(f"  {command:9} {description.splitlines()[0]}")
    return "\n".join(lines)

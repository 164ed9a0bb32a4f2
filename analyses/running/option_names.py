"""Options may be written with dashes: `--ray-address` is `--ray_address`."""

import sys
from collections.abc import Sequence


def with_underscores(argv: Sequence[str] | None) -> list[str]:
    """The arguments (None: the program's own) with dashes inside names of options as underscores.

    >>> with_underscores(["--ray-address=my-node", "--runs", "a-b"])
    ['--ray_address=my-node', '--runs', 'a-b']
    """
    return [_plain(one) for one in (sys.argv[1:] if argv is None else argv)]


def _plain(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    return "--" + name.replace("-", "_") + equals + value

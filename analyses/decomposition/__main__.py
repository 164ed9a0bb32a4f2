"""Command line of the decomposition analysis."""

from collections.abc import Sequence

from analyses.decomposition import __doc__ as description
from analyses.decomposition.config import DecompositionConfig, DecompositionOptions
from analyses.running.options import config_in, parse_config
from lm_merge.errors import one_line_errors


def main(argv: Sequence[str] | None = None) -> None:
    """Decompose what the arguments name, or find the finished run; draw, save, print the findings."""
    options, given = parse_config(
        DecompositionOptions,
        argv,
        prog="python -m analyses.decomposition",
        description=description or "",
    )
    from analyses.decomposition.analysis import execute

    execute(config_in(options, DecompositionConfig), given, options)


if __name__ == "__main__":
    with one_line_errors("decomposition"):
        main()

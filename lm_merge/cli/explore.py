"""Watch a text follow a context that is injected while it is written, on a page of this machine."""

from collections.abc import Sequence

from analyses.adaptation.explorer_options import ExplorerOptions
from analyses.running.options import parse_config

EXPLORERS = ("adaptation",)


def main(argv: Sequence[str]) -> None:
    """Serve an explorer until it is interrupted."""
    words = list(argv)
    asked = words[:1] not in ([], ["-h"], ["--help"])
    if asked and words[0] not in EXPLORERS:
        raise ValueError(f"explore {words[0]!r}: choose from {', '.join(EXPLORERS)}")
    options, _ = parse_config(
        ExplorerOptions,
        words[1:] if asked else ["--help"],
        prog="lm-merge explore adaptation",
        description=f"{__doc__} In Jupyter: analyses.adaptation.explorer.AdaptationExplorer.",
    )
    from analyses.adaptation.explorer_page import serve

    serve(options)

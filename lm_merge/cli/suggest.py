"""Rank merges of a recipe's models by signals from a few prompts: no answers, no generation."""

from collections.abc import Sequence

from analyses.running.options import parse_config
from analyses.suggest_options import SuggestOptions


def main(argv: Sequence[str]) -> None:
    """Show the merges with the least of a signal in a table."""
    options, _ = parse_config(
        SuggestOptions,
        argv,
        prog="lm-merge suggest",
        description=f"{__doc__} Nats are per token, distance is |m - h|^2 / |h|^2, arc_rad the angle "
        "of host and merge.",
        positional=("recipe",),
    )
    from rich.console import Console
    from rich.table import Table

    from analyses.suggest import rank

    chosen = dict(options)
    n_shown = chosen.pop("n_shown")
    ranked = rank(chosen.pop("recipe"), quiet=False, **chosen)
    shown = f"{min(n_shown, len(ranked))} of {len(ranked)} merges (--n_shown)"
    table = Table(title=f"{shown}, least {options.by} first, n = {ranked.n.iloc[0]} tokens")
    for column in ranked.columns[:-1]:
        table.add_column(str(column), justify="right")
    for row in ranked.head(n_shown).itertuples(index=False):
        table.add_row(*(one if isinstance(one, str) else f"{one:.3g}" for one in row[:-1]))
    Console(width=100).print(table)

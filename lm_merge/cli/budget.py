"""Memory and cost of generating with a latent merge, from the models' configurations alone."""

from collections.abc import Sequence
from pathlib import Path

from analyses.running.options import call_with


def main(argv: Sequence[str]) -> None:
    """Run `budget` with options from the command line."""
    call_with(budget, argv, prog="lm-merge budget")


def budget(
    recipe: Path, dtype: str = "bfloat16", batch_size: int = 1, n_tokens: int = 2048
) -> None:
    """Memory and cost of generating with a latent merge, from the models' configurations alone.

    Args:
        recipe: YAML file
        dtype: torch dtype of weights and caches
        batch_size: texts at a time
        n_tokens: prompt and answer together
    """
    from rich.console import Console
    from rich.table import Table

    import lm_merge as lm

    given = lm.Recipe.load(recipe)
    if given.layers is None:
        raise ValueError(f"recipe {recipe}: a budget needs space 'latents', not {given.space!r}")
    needed = lm.merge_budget(
        given.host,
        given.donors,
        list(given.layers),
        base=given.base,
        dtype=dtype,
        batch_size=batch_size,
        n_tokens=n_tokens,
    )
    table = Table(title=f"{dtype}, {batch_size} x {n_tokens} tokens")
    unit, name = (1e9, "GB") if needed.total_bytes >= 1e9 else (1e6, "MB")
    table.add_column("part")
    table.add_column(name, justify="right")
    for part, size in needed.bytes_by_part().items():
        table.add_row(part, f"{size / unit:.3g}")
    table.add_row("total, activations apart", f"{needed.total_bytes / unit:.3g}")
    Console().print(table)
    print(f"a merged token costs at least {needed.decode_ratio:.2f} times one of the host alone")

"""Merge the weights of models, tensor by tensor, into a folder that loads like any model."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from analyses.running.options import call_with

if TYPE_CHECKING:
    from lm_merge.spaces.weights.plan import Plan, TensorPlan


def main(argv: Sequence[str]) -> None:
    """Run `weights` with options from the command line."""
    call_with(weights, argv, prog="lm-merge weights")


def weights(
    recipe: Path,
    out: Path,
    overwrite: bool = False,
    dry_run: bool = False,
    compat: Literal["mergekit"] | None = None,
    shard_size: int = 5 * 10**9,
    threads: int | None = None,
    allow_pickle: bool = False,
    prompts: Path | None = None,
) -> None:
    """Merge the weights of models, tensor by tensor, into a folder that loads like any model.

    Args:
        recipe: YAML file: an lm_merge recipe with space weights, or one in mergekit's format
        out: folder to write
        overwrite: replace the checkpoint that is there
        dry_run: check everything and print the plan, write nothing
        compat: mergekit for results equal to mergekit 0.1.5
        shard_size: largest size of a written file in bytes
        threads: tensors merged at a time; default: number of cores
        allow_pickle: read .bin files where there are no safetensors
        prompts: text file with one prompt a line, for regmean and fisher; the recipe's data unless given
    """
    import sys

    from rich.console import Console
    from rich.progress import Progress

    from lm_merge.spaces.weights import make_weight_plan, merge_weights

    if dry_run:
        plan = make_weight_plan(recipe, compat=compat, allow_pickle=allow_pickle, prompts=prompts)
        _show_plan(plan)
        return
    started = time.monotonic()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("merging", total=None)
        notes: dict[str, None] = {}  # each once

        def done(plan: "Plan", one: "TensorPlan") -> None:
            notes.update(dict.fromkeys(plan.notes))
            progress.update(bar, total=plan.n_bytes, advance=one.n_bytes)

        merge_weights(
            recipe,
            out,
            overwrite=overwrite,
            compat=compat,
            shard_size=shard_size,
            threads=threads,
            allow_pickle=allow_pickle,
            prompts=prompts,
            done=done,
        )
    for note in notes:
        print(note, file=sys.stderr)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {size / 1e6:.0f} MB in {time.monotonic() - started:.1f} s")


def _show_plan(plan: "Plan") -> None:
    from rich.console import Console
    from rich.table import Table

    description = plan.description
    table = Table(
        title=f"{description.method} of {', '.join(one.model for one in description.models)}\n"
        f"{len(plan.tensors)} tensors, {plan.n_read_bytes / 1e6:.1f} MB to read, "
        f"{plan.n_bytes / 1e6:.1f} MB to write",
        title_justify="left",
    )
    table.add_column("tensor", no_wrap=True)
    table.add_column("method")
    table.add_column("weights")
    table.add_column("MB to write", justify="right")
    for one in plan.tensors:
        method = "copy" if one.is_copy else one.method
        weights = ", ".join(f"{weight:.3g}" for weight in one.weights)
        table.add_row(one.name, method, weights, f"{one.n_bytes / 1e6:.3f}")
    console = Console()
    console.print(table)
    for note in plan.notes:
        console.print(note)

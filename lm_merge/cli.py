"""The `lm-merge` command."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse import auto_cli
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import lm_merge as lm
from analyses.running.one_line_parser import OneLineParser
from analyses.running.option_names import with_underscores
from lm_merge.errors import one_line_errors

if TYPE_CHECKING:
    from pandas import DataFrame

    from analyses.report import Tables
    from lm_merge.spaces.weights.plan import Plan

# what only one command needs is imported in that command: start-up time is part of every command


def demo(runs: Path = Path("runs")) -> None:
    """Merge the bundled pair, score it, measure it, and write a report with figures.

    Args:
        runs: folder of the run records; a finished demo is found there and not run again
    """
    from analyses import report, similarity

    _without_loading_bars()
    console = Console()
    started = time.monotonic()
    options = report.ReportOptions(runs=runs)
    console.print(
        f"[bold]{options.host}[/bold] takes in [bold]{options.donors[0]}[/bold] "
        f"at block {list(options.layers or ())[0]}, {options.operator}, alpha 0.25, 0.5, 0.75"
    )
    path, tables = report.write(options, {})
    _show_answers(console, tables)
    _show_accuracy(console, tables["accuracy"], "latents at every alpha")
    _show_accuracy(console, tables["spaces"], "every space")
    console.print(similarity.summary(tables))
    console.print(f"{time.monotonic() - started:.0f} s; open the report:")
    print(path.resolve())


def generate(
    recipe: Path,
    prompt: list[str] | str,
    max_new_tokens: int = 64,
    chat: bool = True,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Continue prompts with what a recipe describes, in whichever space, or with a model alone.

    Args:
        recipe: YAML file; or a model's name or folder
        prompt: '12+34 = ?', or several as '["12+34 = ?", "5+6 = ?"]'
        max_new_tokens: tokens to add at most
        chat: put prompts into the host's chat template
        device: torch device; the CPU unless given
        dtype: torch dtype; the checkpoint's unless given
    """
    from lm_merge.spaces.compose import system

    _without_loading_bars()
    speaker = system(recipe, device=device, dtype=dtype)
    prompts = [prompt] if isinstance(prompt, str) else prompt
    for text in speaker.generate(prompts, chat=chat, max_new_tokens=max_new_tokens):
        print(text)


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


def sweep(
    file: Path,
    ray: bool = False,
    ray_address: str | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    retries: int = 0,
    runs: Path = Path("runs"),
    export: Path | None = None,
    fresh: bool = False,
) -> None:
    """Run an analysis over a grid of settings; what is finished is found, so a stopped one goes on.

    The exit status is the number of failed cells.

    Args:
        file: YAML file with analysis, base (settings for all cells) and grid (setting -> values)
        ray: run cells side by side on a local Ray cluster
        ray_address: of a running Ray cluster to use instead, for example auto
        cpus: CPUs that a cell holds on Ray; 1 unless given
        gpus: GPUs that a cell holds on Ray; none unless given
        retries: further attempts at a failing cell
        runs: folder of the run records
        export: folder for copies of the tables as CSV
        fresh: compute anew what is finished
    """
    from analyses.sweep import sweep_file

    sweep_file(
        file,
        ray=ray,
        ray_address=ray_address,
        cpus=cpus,
        gpus=gpus,
        retries=retries,
        runs=runs,
        export=export,
        fresh=fresh,
    )


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
        recipe: YAML file, ours with space weights or one in mergekit's format
        out: folder to write
        overwrite: replace the checkpoint that is there
        dry_run: check everything and print the plan, write nothing
        compat: mergekit for results equal to mergekit 0.1.5
        shard_size: bytes a file at most
        threads: tensors at a time; the cores unless given
        allow_pickle: read .bin files where there are no safetensors
        prompts: text file with one prompt a line, for regmean and fisher; the recipe's data unless given
    """
    from lm_merge.spaces.weights import make_weight_plan, merge_weights

    if dry_run:
        plan = make_weight_plan(recipe, compat=compat, allow_pickle=allow_pickle, prompts=prompts)
        _show_plan(plan)
        return
    started = time.monotonic()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("merging", total=None)
        merge_weights(
            recipe,
            out,
            overwrite=overwrite,
            compat=compat,
            shard_size=shard_size,
            threads=threads,
            allow_pickle=allow_pickle,
            prompts=prompts,
            done=lambda plan, one: progress.update(bar, total=plan.n_bytes, advance=one.n_bytes),
        )
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {size / 1e6:.0f} MB in {time.monotonic() - started:.1f} s")


def _show_plan(plan: "Plan") -> None:
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


def judge() -> None:
    """Judge JudgeBench's pairs by an endpoint, a model or a merge; `lm-merge judge --help` says how."""


def _show_answers(console: Console, tables: "Tables") -> None:
    by_question = [rows for _, rows in tables["answers"].groupby("question", sort=False)]
    question = max(by_question, key=lambda rows: rows.reply.nunique())  # where they differ most
    table = _plain_table()
    for column in ("system", "reply", "right"):
        table.add_column(column)
    for _, row in question.iterrows():
        table.add_row(str(row["system"]), str(row["reply"]), str(row["right"]))
    _print_titled(
        console,
        "Of the examples in the report, the one on which answers differ most:\n"
        f"{question.question.iloc[0]} (right: {question.answer.iloc[0]})",
        table,
    )


def _show_accuracy(console: Console, accuracy: "DataFrame", what: str) -> None:
    from lm_merge.zoo.tasks import CATEGORIES

    n = accuracy[accuracy.category != "Overall"].n.max()
    table = _plain_table()
    table.add_column("system", no_wrap=True)
    for category in (*CATEGORIES, "Overall"):
        table.add_column(category, justify="right")
    for system, rows in accuracy.groupby("system", sort=False):
        percent = 100 * rows.set_index("category").accuracy_frac
        table.add_row(
            str(system),
            *(f"{percent[category]:.0f}" for category in CATEGORIES),
            f"{percent['Overall']:.1f}",  # of several times as many questions
        )
    title = f"{what}: accuracy (%), n = {n} a category (intervals: report)"
    _print_titled(console, title, table)


def _plain_table() -> Table:
    """Without frame: with every category of questions it fits into 80 columns."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


def _print_titled(console: Console, title: str, table: Table) -> None:
    console.print(title, style="bold", markup=False, highlight=False)
    console.print(table, "")


def suggest(
    recipe: Path,
    prompts: list[str] | None = None,
    by: str = "kl_prompt",
    layers: list[int] | None = None,
    alphas: list[float] | None = None,
    operators: list[str] | None = None,
    n_shown: int = 12,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Rank merges of a recipe's models by signals from a few prompts: no answers, no generation.

    Nats are per token, distance is |m - h|^2 / |h|^2, arc_rad the angle of host and merge.

    Args:
        recipe: YAML file; its own operator and alpha give way to the grid below
        prompts: a handful of prompts; bundled questions unless given
        by: distance, arc_rad, head_mismatch, chord, bound or kl_prompt; least first
        layers: blocks to merge at, one at a time; every 5th, the last and the recipe's own unless given
        alphas: weights of the donors; 0.25, 0.5 and 0.75 unless given
        operators: lerp and slerp unless given
        n_shown: rows to show
        device: torch device; the CPU unless given
        dtype: torch dtype; the checkpoint's unless given
    """
    from analyses.suggest import DEFAULT_OPERATORS, rank

    _without_loading_bars()
    ranked = rank(
        recipe,
        prompts=prompts,
        by=by,
        layers=tuple(layers or ()),
        alphas=tuple(alphas or (0.25, 0.5, 0.75)),
        operators=tuple(operators or DEFAULT_OPERATORS),
        quiet=False,
        device=device,
        dtype=dtype,
    )
    shown = f"{min(n_shown, len(ranked))} of {len(ranked)} merges (--n_shown), least {by} first"
    table = Table(title=f"{shown}, n = {ranked.n.iloc[0]} tokens")
    for column in ranked.columns[:-1]:
        table.add_column(str(column), justify="right")
    for row in ranked.head(n_shown).itertuples(index=False):
        table.add_row(*(one if isinstance(one, str) else f"{one:.3g}" for one in row[:-1]))
    Console(width=100).print(table)


def _without_loading_bars() -> None:
    """Results stand alone: no progress bar of loading weights among them."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; errors that a user can mend end with one line and status 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    with one_line_errors("lm-merge"):
        if words[:1] == ["judge"]:  # its options are its configuration's, none is written twice
            from analyses.judge import main as judge_main

            judge_main(words[1:], prog="lm-merge judge")
        else:
            auto_cli(
                [demo, generate, weights, budget, suggest, sweep, judge],
                args=with_underscores(words or ["--help"]),
                prog="lm-merge",
                parser_class=OneLineParser,
            )


if __name__ == "__main__":
    main()

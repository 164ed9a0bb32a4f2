"""Check whether adapters fit their base and each other, describe each, and list shared modules."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyses.running.options import call_with

if TYPE_CHECKING:
    import lm_merge as lm
    from lm_merge.models.adapters import Adapter
    from lm_merge.spaces.adapters.checks import AdapterCheck

FAR = 1e-3  # relative difference of logits above which an update is not what runs


def main(argv: Sequence[str]) -> None:
    """Run `check` with options from the command line."""
    n_names = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    names = [json.dumps(list(argv[:n_names]))] if n_names else []
    call_with(check, [*names, *argv[n_names:]], prog="lm-merge check")


def check(adapters: list[str], host: str | None = None, adapters_file: Path | None = None) -> None:
    """Check whether adapters fit their base and each other, describe each, and list shared modules.

    Args:
        adapters: folders, bundled names, hub names, or names from the file of adapters
        host: the base model; the one that the first adapter names unless given
        adapters_file: YAML file, name -> folder or hub name; adapters.yaml if it is there
    """
    import lm_merge as lm
    from lm_merge.models.adapters.finding import find_adapter
    from lm_merge.spaces.adapters.checks import check_adapter

    read, refused = [], []
    for name in adapters:
        try:
            read.append(find_adapter(name, adapters_file))
        except (OSError, ValueError) as error:
            refused.append(str(error))
    if not read:
        raise ValueError("; ".join(refused))
    base = host or read[0].settings.base
    if base is None:
        raise ValueError(f"adapter {read[0].name!r} names no base model; give it as --host")
    model = lm.load(base)
    checks = [check_adapter(one, model) for one in read]
    _print_adapters(checks)
    problems = [*refused, *(f"{one.name}: {text}" for one in checks for text in one.problems)]
    _print_pairs(read, model)
    far = [one for one in checks if one.identity_error > FAR]
    problems += [
        f"{one.name}: its update differs from {one.oracle} by {one.identity_error:.2g} of the logits"
        for one in far
    ]
    for text in problems:
        sys.stderr.write(f"lm-merge check: {text}\n")
    if problems:
        sys.exit(2)


def _print_adapters(checks: "Sequence[AdapterCheck]") -> None:
    from rich.console import Console

    from lm_merge.cli.tables import plain_table, print_titled

    table = plain_table()
    for name in ("adapter", "base", "modules", "rank", "options", "norm", "effective rank"):
        table.add_column(name)
    table.add_column("identity test")
    for one in checks:
        ranks = f"{one.ranks[0]}" if len(one.ranks) == 1 else f"{one.ranks[0]} to {one.ranks[-1]}"
        table.add_row(
            one.name,
            str(one.base),
            str(one.n_modules),
            ranks,
            ", ".join(one.options),
            f"{one.norm:.3g}",
            f"{one.effective_rank:.2f}",
            f"{one.identity_error:.1e} ({one.oracle})" if not one.problems else one.oracle,
        )
    print_titled(Console(), "Adapters", table)


def _print_pairs(adapters: "Sequence[Adapter]", host: "lm.HookedLM") -> None:
    from rich.console import Console

    from lm_merge.cli.tables import plain_table, print_titled
    from lm_merge.spaces.adapters.checks import fit_problems
    from lm_merge.spaces.adapters.interference import interference

    if len(adapters) < 2:
        return
    native = host.require_native("a check of adapters")
    names = [name for name, _ in native.named_parameters(remove_duplicate=False)]
    table = plain_table()
    for name in ("block", "adapters", "cosine", "signs that differ", "norms"):
        table.add_column(name)
    for one in interference(adapters, names):
        table.add_row(
            "outside" if one.block is None else str(one.block),
            f"{one.first}, {one.second}",
            f"{one.cosine:.3f}",
            f"{one.sign_conflict:.1%}",
            f"{one.norms[0]:.3g}, {one.norms[1]:.3g}",
        )
    print_titled(Console(), "Pairs, block by block", table)
    for text in fit_problems(adapters):
        print(text)

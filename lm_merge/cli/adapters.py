"""Merge LoRA adapters into a folder: a new adapter, its matrices, or a whole model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from analyses.running.options import call_with

if TYPE_CHECKING:
    from lm_merge.recipes import AdapterRecipe


def main(argv: Sequence[str]) -> None:
    """Run `adapters` with options from the command line; the second word is the folder to write."""
    words = list(argv)
    if len(words) > 1 and not any(word.startswith("-") for word in words[:2]):
        words.insert(1, "--out")
    call_with(adapters, words, prog="lm-merge adapters")


def adapters(
    recipe: Path,
    out: Path | None = None,
    form: Literal["lora", "svd", "delta", "model"] = "lora",
    rank: int | None = None,
    max_error: float | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    host: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Merge LoRA adapters into a folder: a new adapter, its matrices, or a whole model.

    Args:
        recipe: YAML file of space adapters, or one in the format that names adapters and a method
        out: folder to write, may follow the recipe without --out; not needed for a dry run
        form: lora (exact), svd (a LoRA of lower rank), delta (matrices) or model (a checkpoint)
        rank: of form svd, the highest rank
        max_error: of form svd, the relative error that is allowed
        overwrite: replace a folder that this command wrote
        dry_run: check everything, print the recipe and every module's coefficients, write nothing
        host: the base model, in place of the recipe's; the adapters' own where the file names none
        device: torch device; the CPU unless given
        dtype: torch dtype of the base; the checkpoint's unless given
    """
    import lm_merge as lm
    from lm_merge.spaces.adapters.report import AdapterReport

    given, notes = _read(recipe, host)
    for note in notes:
        print(f"note: {note}")
    if dry_run:
        _show(given, device, dtype)
        return
    if out is None:
        raise ValueError("out is missing: give the folder to write, or --dry_run true")
    lm.merge_adapters(
        given,
        out,
        form,
        rank=rank,
        max_error=max_error,
        overwrite=overwrite,
        device=device,
        dtype=dtype,
    )
    size = sum(path.stat().st_size for path in out.iterdir())
    print(AdapterReport.load(out).words)
    print(f"{out}: {size / 1e6:.2f} MB, form {form}")


def _read(recipe: Path, host: str | None) -> "tuple[AdapterRecipe, tuple[str, ...]]":
    from lm_merge.recipes import read_mapping
    from lm_merge.recipes.reference_format import is_reference, read_reference
    from lm_merge.spaces.adapters.merging import adapter_recipe, base_of

    content = read_mapping(recipe, "recipe")
    if not is_reference(content):
        given = adapter_recipe(recipe)
        return (given if host is None else adapter_recipe(given.with_fields(host=host))), ()
    found = read_reference(content, host or base_of(content["adapters"][0]))
    return found.recipe, found.notes


def _show(recipe: "AdapterRecipe", device: str | None, dtype: str | None) -> None:
    import yaml
    from rich.console import Console

    import lm_merge as lm
    from lm_merge.cli.tables import plain_table, print_titled

    content = recipe.model_dump(exclude_none=True, exclude_defaults=True)
    print(yaml.safe_dump({"space": "adapters", **content}, sort_keys=False))
    merge = lm.compose(recipe, device=device, dtype=dtype)
    assert isinstance(merge, lm.AdapterMerge)  # the space of the recipe
    table = plain_table()
    for name in ("module", *(one.name for one in merge.adapters), "rank"):
        table.add_column(name)
    for key, row in merge.coefficients.items():
        rank = str(merge.updates.low_rank(key).rank) if merge.updates.is_low_rank else "full"
        table.add_row(key, *(f"{one:.4g}" for one in row), rank)
    print_titled(Console(), f"{merge.operator}: coefficients by module", table)
    for note in merge.notes:
        print(note)

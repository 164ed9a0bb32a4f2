"""Memory and cost of a latent merge that generates or is analysed, from the configurations alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from analyses.running.options import call_with

if TYPE_CHECKING:
    from lm_merge.models import MergeBudget
    from lm_merge.recipes import Recipe


def main(argv: Sequence[str]) -> None:
    """Run `budget` with options from the command line."""
    call_with(budget, argv, prog="lm-merge budget")


def budget(
    recipe: Path,
    dtype: str = "bfloat16",
    batch_size: int = 1,
    n_tokens: int = 2048,
    analysis: Literal["similarity"] | None = None,
    n_alphas: int = 1,
    bandwidth_gb_s: float | None = None,
) -> None:
    """Memory and cost of a latent merge that generates or is analysed, from the configurations alone.

    Args:
        recipe: YAML file
        dtype: torch dtype of weights and caches
        batch_size: texts at a time
        n_tokens: prompt and answer together; with analysis, tokens of the longest prompt
        analysis: memory of this analysis, not of generating
        n_alphas: alphas that the analysis measures, the recipe's own included
        bandwidth_gb_s: memory bandwidth in GB a second; measured by copying where there is a GPU
    """
    import lm_merge as lm

    given = lm.Recipe.load(recipe)
    if given.layers is None:
        raise ValueError(f"recipe {recipe}: a budget needs space 'latents', not {given.space!r}")
    if bandwidth_gb_s is not None and not bandwidth_gb_s > 0:
        raise ValueError(f"bandwidth_gb_s={bandwidth_gb_s} must be above 0: GB a second")
    title = f"{dtype}, {batch_size} x {n_tokens} tokens"
    if analysis is not None:
        _similarity(given, title, dtype, batch_size, n_tokens, n_alphas)
        return
    needed = lm.merge_budget(
        given.host,
        given.donors,
        list(given.layers),
        base=given.base,
        dtype=dtype,
        batch_size=batch_size,
        n_tokens=n_tokens,
    )
    _show(title, needed.bytes_by_part(), "total, activations apart", needed.total_bytes)
    print(f"a merged token costs at least {needed.decode_ratio:.2f} times one of the host alone")
    _speed(needed, bandwidth_gb_s, batch_size)


def _similarity(
    given: "Recipe", title: str, dtype: str, batch_size: int, n_tokens: int, n_alphas: int
) -> None:
    from lm_merge.models.similarity_budget import similarity_budget

    needed = similarity_budget(
        given.host,
        given.donors,
        list(given.layers or ()),
        base=given.base,
        dtype=dtype,
        batch_size=batch_size,
        n_tokens=n_tokens,
        n_alphas=n_alphas,
    )
    parts = {
        "weights": needed.weights_bytes,
        "streams, while they are compared": needed.stream_bytes,
        "rows that wait for the CKA": needed.waiting_bytes,
        "logits, after the streams": needed.logits_bytes,
    }
    _show(f"similarity, {title}", parts, "peak on the device", needed.total_bytes)
    print(f"recorded streams take {needed.in_cpu_memory / 1e9:.3g} GB of the CPU's memory besides")


def _speed(needed: "MergeBudget", bandwidth_gb_s: float | None, batch_size: int) -> None:
    """The expected speed at a bandwidth, given or measured; nothing where there is neither."""
    import torch

    origin = "as given"
    if bandwidth_gb_s is None:
        if not torch.cuda.is_available():
            return
        from lm_merge.models.bandwidth import copy_bandwidth

        device = torch.device("cuda")
        bandwidth_gb_s = copy_bandwidth(device) / 1e9
        origin = f"measured on {torch.cuda.get_device_name(device)}"
    steps = needed.steps_per_s(bandwidth_gb_s * 1e9)
    print(
        f"at most {batch_size * steps:.3g} tokens a second ({batch_size} x {steps:.3g} steps) at "
        f"{bandwidth_gb_s:.4g} GB/s, {origin}"
    )


def _show(title: str, parts: dict[str, int], last: str, total: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    unit, name = (1e9, "GB") if total >= 1e9 else (1e6, "MB")
    table.add_column("part")
    table.add_column(name, justify="right")
    for part, size in parts.items():
        table.add_row(part, f"{size / unit:.3g}")
    table.add_row(last, f"{total / unit:.3g}")
    Console().print(table)

"""Which merges look safe, from a handful of prompts: no right answer and no generated token needed.

The signals are those of `lm_merge.scoring.signals`. Table "correlations" of `python -m
analyses.layerwise` reports how well each ranks merges that were then measured. On the bundled pairs
`kl_prompt` predicts how far a merge moves from its host. No signal predicts whether moving away helps.
At a given alpha the smallest `head_mismatch` goes with the smallest loss, and so does the latest block.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.layerwise.config import LayerwiseConfig
from analyses.layerwise.grid import grid_of
from analyses.running.command_line import progress
from analyses.running.text_choice import prompt_batches
from lm_merge.recipes import Recipe
from lm_merge.scoring.signals import SIGNALS, SignalMeans
from lm_merge.spaces.compose import compose_latents

DEFAULT_OPERATORS = ("lerp", "slerp")  # regmean is lerp at another name of alpha


def rank(
    recipe: str | Path | dict[str, Any] | Recipe,
    *,
    prompts: Sequence[str] | None = None,
    by: str = "kl_prompt",
    layers: tuple[int, ...] = (),
    alphas: tuple[float, ...] = (0.25, 0.5, 0.75),
    operators: tuple[str, ...] = DEFAULT_OPERATORS,
    quiet: bool = True,
    **settings: Any,
) -> pd.DataFrame:
    """One row a merge, the one with the least of `by` first; columns layer, operator, alpha, signals, n.

    recipe: names the models; its own operator and alpha give way to the grid's. layers: every 5th
    block, the last and the recipe's own unless given. prompts: None
    takes bundled questions. settings: further fields of `LayerwiseConfig`. n counts tokens.

    Raises ValueError for an unknown signal.
    """
    if by not in SIGNALS:
        raise ValueError(f"by={by!r} is no signal; choose from {', '.join(SIGNALS)}")
    config = LayerwiseConfig(
        recipe=Recipe.load(recipe), layers=layers, alphas=alphas, operators=operators, **settings
    )
    merge = compose_latents(config.recipe, device=config.device, dtype=config.dtype)
    grid = grid_of(config, merge, also=tuple(merge.layers))
    texts = prompt_batches(merge.host, config, n=config.n_prompts, prompts=prompts)
    table = SignalMeans(grid).measure(progress(texts, "signals", quiet=quiet))
    cell = ["layer", "operator", "alpha"]
    wide = table.pivot(index=cell, columns="signal", values="value")[list(SIGNALS)]
    n = table[table.signal == by].set_index(cell)["n"]
    return wide.assign(n=n).sort_values(by).reset_index()

"""A grid of merges on given texts, parents run once or merge by merge: `python -m benchmarks.layerwise`.

The teacher-forced part of the default grid of `analyses.layerwise`: every 5th block and the last,
three alphas, three operators. Both ways score the same texts by the same code; cell by cell each
merge is one forward of `LatentMerge`. Medians of interleaved rounds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

import lm_merge as lm
from analyses.layerwise.grid import default_layers
from analyses.running.command_line import Tables
from benchmarks.pairs import random_native
from benchmarks.running import run_benchmark
from benchmarks.timing import interleaved_seconds, median_ratio
from lm_merge.scoring.next_tokens import NextTokens, next_token_scores
from lm_merge.scoring.texts import Texts
from lm_merge.spaces.latents.latent_grid import GridCell, LatentGrid

REUSED, ONE_BY_ONE = "parents run once", "merge by merge"


class LayerwiseConfig(BaseModel):
    """Sizes of the pair, the grid and the work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_blocks: PositiveInt = Field(default=28, description="blocks of each model")
    d_model: PositiveInt = Field(default=256, description="width, a multiple of 128")
    d_vocab: PositiveInt = Field(default=1000, description="vocabulary")
    operators: tuple[str, ...] = Field(
        default=("lerp", "slerp", "regmean"), description="operators"
    )
    alphas: tuple[float, ...] = Field(default=(0.25, 0.5, 0.75), description="donor's weights")
    batch: PositiveInt = Field(default=4, description="texts a forward pass")
    n_pos: PositiveInt = Field(default=32, description="tokens a text")
    n_rounds: PositiveInt = Field(default=3, description="timed rounds")
    n_threads: PositiveInt = Field(default=2, description="torch threads")


Scores = dict[GridCell, dict[str, torch.Tensor]]


def ways(config: LayerwiseConfig) -> dict[str, Callable[[], Scores]]:
    """The same scores, cell -> metric -> value at each token, in two ways."""
    sizes = {key: getattr(config, key) for key in ("n_blocks", "d_model", "d_vocab")}
    host, donor = (lm.wrap(random_native(seed, **sizes)) for seed in (0, 1))
    cells = tuple(
        GridCell(layer, operator, alpha)
        for layer in default_layers(config.n_blocks)
        for operator in config.operators
        for alpha in config.alphas
    )
    merges = {
        cell: lm.LatentMerge(
            host, donor, operator=cell.operator, layers=[cell.layer], alpha=cell.alpha
        )
        for cell in cells
    }
    grid = LatentGrid(merges[cells[0]], cells)
    tokens = torch.randint(3, config.d_vocab, (config.batch, config.n_pos))
    mask = torch.ones_like(tokens)
    texts = Texts(tokens, mask, torch.zeros_like(mask).bool(), mask[:, :1] * (config.n_pos - 1))

    def reused() -> Scores:
        passed = grid.run(tokens, mask)
        outputs = NextTokens(passed, texts)
        return {
            cell: outputs.of_merge(end)
            for part, ends in passed.ends()
            for cell, end in zip(part, ends, strict=True)
        }

    def one_by_one() -> Scores:
        def outputs(logits: torch.Tensor) -> torch.Tensor:
            return logits[texts.predicts].log_softmax(dim=-1)

        natives: dict[str, Any] = {"host": host.native, "donor": donor.native}
        parents = {
            name: outputs(native(tokens, attention_mask=mask, use_cache=False).logits)
            for name, native in natives.items()
        }
        targets = tokens[:, 1:].flatten()
        return {
            cell: next_token_scores(outputs(merge(tokens, mask)), parents, targets)
            for cell, merge in merges.items()
        }

    return {REUSED: reused, ONE_BY_ONE: one_by_one}


def measure(config: LayerwiseConfig) -> pd.DataFrame:
    """Columns: way, n_merges, n_tokens, ratio (time to that of `parents run once`), block_ratio
    (the same by blocks run, which ignores heads), max_difference (of any score to the other way).
    """
    systems = ways(config)
    with torch.no_grad():
        reused, one_by_one = (systems[name]() for name in (REUSED, ONE_BY_ONE))
        difference = max(
            (reused[cell][key] - values[key]).abs().max().item()
            for cell, values in one_by_one.items()
            for key in values
        )
        seconds = interleaved_seconds(systems, config.n_rounds, "layerwise")
    n, layers = config.n_blocks, default_layers(config.n_blocks)
    a_block = len(config.operators) * len(config.alphas)
    apart = 2 * n + a_block * sum(n + layer + 1 for layer in layers)
    blocks = {REUSED: 2 * n + a_block * sum(n - 1 - layer for layer in layers), ONE_BY_ONE: apart}
    return pd.DataFrame(
        [
            {
                "way": name,
                "n_merges": len(reused),
                "n_tokens": config.batch * config.n_pos,
                "ratio": median_ratio(seconds, name, REUSED),
                "block_ratio": blocks[name] / blocks[REUSED],
                "max_difference": difference,
            }
            for name in systems
        ]
    )


def tables(config: LayerwiseConfig) -> Tables:
    """Table "layerwise"."""
    return {"layerwise": measure(config)}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the table."""
    run_benchmark("layerwise", LayerwiseConfig, tables, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    main()

"""Time and peak memory of the analyses on a device: `python -m benchmarks.analyses_on_device`.

Similarity, layerwise and curvature on a pair of random models of a shape, each with loading, one after
another. The checkpoints are written into a temporary folder, with the tokenizer of a bundled model.
Random weights say nothing about merges, so the tables of the analyses are not kept.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from analyses.curvature import analysis as curvature
from analyses.curvature.config import CurvatureConfig
from analyses.layerwise import analysis as layerwise
from analyses.layerwise.config import LayerwiseConfig
from analyses.running.command_line import Tables
from analyses.similarity import analysis as similarity
from analyses.similarity.config import SimilarityConfig
from benchmarks.pairs import SHAPES, native_of
from benchmarks.running import run_benchmark
from lm_merge.generation import require_tokenizer
from lm_merge.models import load
from lm_merge.recipes import Recipe

TOKENIZER = "tiny-instruct"  # its ids are a part of every shape's vocabulary
D_VOCAB = 512  # at least, for them


class AnalysesConfig(BaseModel):
    """The shape of the models, the device, and how many texts each analysis reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field(default="cpu", description="torch device")
    shape: Literal["qwen2.5-7b", "tiny"] = Field(default="tiny", description="shape of the models")
    dtype: Literal["bfloat16", "float16", "float32"] = Field(
        default="bfloat16", description="dtype of the models"
    )
    n_prompts: PositiveInt = Field(default=64, description="prompts of similarity")
    n_texts: PositiveInt = Field(default=200, description="texts of layerwise")
    n_curvature_texts: PositiveInt = Field(default=4, description="texts of curvature")
    n_threads: PositiveInt = Field(default=2, description="torch threads")


def analyses_of(recipe: Recipe, config: AnalysesConfig) -> dict[str, Callable[[], object]]:
    """Analysis -> measure a recipe, whose operator is lerp, on the device."""
    given: dict[str, Any] = {"recipe": recipe, "device": config.device, "dtype": config.dtype}
    return {
        "similarity": lambda: similarity.run(SimilarityConfig(**given, n_prompts=config.n_prompts)),
        "layerwise": lambda: layerwise.run(
            LayerwiseConfig(**given, n_texts=config.n_texts), quiet=False
        ),
        "curvature": lambda: curvature.run(
            CurvatureConfig(**given, n_texts=config.n_curvature_texts)
        ),
    }


def costs(
    analyses: Mapping[str, Callable[[], object]], device: torch.device, weights: int
) -> Iterator[dict[str, Any]]:
    """Seconds of each analysis with loading, its peak on a GPU in GB, and that over the weights.

    weights: bytes of both models. On another device the peaks are NaN.
    """
    for name, run in analyses.items():
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        start = time.perf_counter()
        run()
        seconds, peak = time.perf_counter() - start, float("nan")
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device) / 1e9
        yield {
            "analysis": name,
            "seconds": seconds,
            "peak_gb": peak,
            "over_weights_gb": peak - weights / 1e9,
        }


@contextmanager
def random_pair(config: AnalysesConfig) -> Iterator[tuple[Recipe, int]]:
    """A recipe over two random checkpoints, which go again, and the bytes of their weights."""
    shape, dtype = SHAPES[config.shape], getattr(torch, config.dtype)
    shape = type(shape)(**{**shape.to_dict(), "vocab_size": max(shape.vocab_size, D_VOCAB)})
    tokenizer = require_tokenizer(load(TOKENIZER).tokenizer, TOKENIZER)
    n_bytes = 0
    with TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("host", "donor")]
        for seed, path in enumerate(paths):
            model = native_of(shape, seed, torch.device(config.device), dtype)
            n_bytes += sum(one.numel() * one.element_size() for one in model.parameters())
            model.save_pretrained(path)
            tokenizer.save_pretrained(path)
            del model
        block = shape.num_hidden_layers // 2
        yield (
            Recipe(host=paths[0], donors=(paths[1],), operator="lerp", layers={block: 0.5}),
            n_bytes,
        )


def tables(config: AnalysesConfig) -> Tables:
    """Table "analyses_on_device", with the device's name."""
    device = torch.device(config.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    with random_pair(config) as (recipe, n_bytes):
        rows = list(costs(analyses_of(recipe, config), device, n_bytes))
    return {"analyses_on_device": pd.DataFrame(rows).assign(device=name, shape=config.shape)}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the table."""
    run_benchmark(
        "analyses_on_device", AnalysesConfig, tables, description=__doc__ or "", argv=argv
    )


if __name__ == "__main__":
    main()

"""What exact curvature costs, in forward passes a point: `python -m benchmarks.curvature`.

A forward pass is what gives the loss itself there: final norm, unembedding and cross-entropy at the
last block, the host's later blocks before them at an earlier one. Medians of interleaved rounds, and
peak memory at ten times the tokens and at four times the vocabulary.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

import lm_merge as lm
from analyses.running.command_line import Tables
from benchmarks.memory import PeakWatch
from benchmarks.pairs import random_native
from benchmarks.running import run_benchmark
from benchmarks.timing import interleaved_seconds, median_ratio
from lm_merge.metrics import gauss_legendre
from lm_merge.models.linear_readout import linear_readout
from lm_merge.models.tail import Tail
from lm_merge.spaces.latents.host_donor_segment import Segment

LOSS, WHOLE = "loss at the points", "whole forward pass of the host"
EXACT, CLOSED = "exact curvature", "closed form"


class CurvatureConfig(BaseModel):
    """Sizes of the pair and of the work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_blocks: PositiveInt = Field(default=12, description="blocks of each model")
    d_model: PositiveInt = Field(default=512, description="width, a multiple of 128")
    d_vocab: PositiveInt = Field(default=8000, description="vocabulary")
    batch: PositiveInt = Field(default=4, description="texts")
    n_pos: PositiveInt = Field(default=64, description="tokens a text")
    n_points: PositiveInt = Field(default=16, description="points of the segment")
    n_rounds: PositiveInt = Field(default=7, description="timed rounds")
    n_threads: PositiveInt = Field(default=2, description="torch threads")
    memory: bool = Field(default=True, description="measure memory in processes of their own")


def segment_of(config: CurvatureConfig, layer: int) -> Segment:
    """Random texts on the segment between two random models; every column is scored."""
    sizes = {key: getattr(config, key) for key in ("n_blocks", "d_model", "d_vocab")}
    host, donor = (lm.wrap(random_native(seed, **sizes)) for seed in (0, 1))
    tokens = torch.randint(3, config.d_vocab, (config.batch, config.n_pos))
    passes = [Tail(one, attention="eager").record(tokens, layers=[layer]) for one in (host, donor)]
    direction = passes[1].states[layer] - passes[0].states[layer]
    scored = torch.ones_like(tokens, dtype=torch.bool)
    readout = linear_readout(passes[0].tail)
    return Segment(passes[0], layer, direction, tokens.roll(-1, dims=1), scored, readout)


def measure(config: CurvatureConfig) -> pd.DataFrame:
    """Columns: layer, system, n_tokens, n_points, ratio to the losses at as many points, and
    whole_ratio, of one point to the host's whole forward pass.
    """
    rows = []
    points, _ = gauss_legendre(config.n_points)
    for layer in (config.n_blocks // 2, config.n_blocks - 1):
        segment = segment_of(config, layer)
        native: Any = segment.passed.tail.model.native
        tokens = segment.targets

        systems: dict[str, Any] = {
            WHOLE: lambda native=native, tokens=tokens: native(tokens, use_cache=False),
            LOSS: lambda segment=segment: segment.losses(points),
            EXACT: lambda segment=segment: segment.jets(points),
        }
        if segment.at_last_block:
            systems[CLOSED] = lambda segment=segment: segment.closed_form(points)
        with torch.no_grad():
            seconds = interleaved_seconds(systems, config.n_rounds, f"block {layer}")
        common = {"layer": layer, "n_tokens": tokens.numel(), "n_points": config.n_points}
        rows += [
            common
            | {
                "system": name,
                "ratio": median_ratio(seconds, name, LOSS),
                "whole_ratio": median_ratio(seconds, name, WHOLE) / config.n_points,
            }
            for name in systems
            if name != WHOLE
        ]
    return pd.DataFrame(rows)


def memory_rows(config: CurvatureConfig) -> pd.DataFrame:
    """Columns: n_tokens, d_vocab, logits_of_all_points_mb (what holding them would take),
    peak_anonymous_mb, above_the_models_mb (above the loss at one point).

    The curvature of one segment at the last block, each in a process of its own.
    """
    rows = []
    for more_tokens, more_words in ((1, 1), (10, 1), (1, 4), (10, 4)):
        changes = {
            "batch": more_tokens * config.batch,
            "d_vocab": more_words * config.d_vocab,
            "n_blocks": 1,
        }
        given = config.model_copy(update=changes)
        command = [sys.executable, "-m", "benchmarks.curvature", "--work", given.model_dump_json()]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        before, peak = json.loads(done.stdout.splitlines()[-1])
        n_tokens = given.batch * given.n_pos
        rows.append(
            {
                "n_tokens": n_tokens,
                "d_vocab": given.d_vocab,
                "logits_of_all_points_mb": n_tokens * given.n_points * given.d_vocab * 4 / 1e6,
                "peak_anonymous_mb": peak,
                "above_the_models_mb": peak - before,
            }
        )
    return pd.DataFrame(rows)


def _work(config: CurvatureConfig) -> None:
    """The memory run: the curvature of one segment at the last block, alone in this process."""
    torch.set_num_threads(config.n_threads)
    segment = segment_of(config, config.n_blocks - 1)
    points, _ = gauss_legendre(config.n_points)
    with PeakWatch() as before:
        segment.losses(points[:1])
    with PeakWatch() as watch:
        segment.jets(points)
    sys.stdout.write(f"{json.dumps([before.anonymous_mb, watch.anonymous_mb])}\n")


def tables(config: CurvatureConfig) -> Tables:
    """Table "curvature" and, if asked for, "curvature_memory"."""
    found = {"curvature": measure(config)}
    return found | {"curvature_memory": memory_rows(config)} if config.memory else found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the table."""
    run_benchmark("curvature", CurvatureConfig, tables, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _work(CurvatureConfig.model_validate_json(sys.argv[2]))
    else:
        main()

"""What scoring a text under three contexts costs in one packed pass: `python -m benchmarks.adaptation`.

A text is scored as it was written, under c0 alone and under c1 from its start. Packed: one forward pass
over every block once. Through the cache: token by token, contexts computed once. Without a cache: one
forward pass over everything for each token. Medians of interleaved rounds, in units of the packed pass.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor

import lm_merge as lm
from analyses.running.command_line import Tables
from benchmarks.memory import PeakWatch
from benchmarks.pairs import random_native
from benchmarks.running import run_benchmark
from benchmarks.timing import interleaved_seconds, median_ratio
from lm_merge.contexts.blocks import Run
from lm_merge.contexts.cached import BlockCache
from lm_merge.contexts.operations import Injection, append, none, swap
from lm_merge.contexts.packed import packed_logits, packed_rows

PACKED, SHARES = "packed", "packed, with attention shares"
CACHED, NAIVE = "through the cache, token by token", "without a cache"


class AdaptationBenchmarkConfig(BaseModel):
    """Sizes of the model and of the texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_blocks: PositiveInt = Field(default=8, description="blocks of the model")
    d_model: PositiveInt = Field(default=512, description="width, a multiple of 128")
    d_vocab: PositiveInt = Field(default=8000, description="vocabulary")
    n_context: PositiveInt = Field(default=40, description="tokens of each context")
    tau: PositiveInt = Field(default=10, description="tokens emitted before the injection")
    n_scored: PositiveInt = Field(default=70, description="tokens scored after it")
    n_items: tuple[PositiveInt, ...] = Field(
        default=(4, 8, 16),
        description="items, of the cost by items; memory: the first and ten times it",
    )
    n_rounds: PositiveInt = Field(default=5, description="timed rounds")
    n_threads: PositiveInt = Field(default=2, description="torch threads")
    naive: bool = Field(default=True, description="time scoring without a cache, too")
    memory: bool = Field(default=True, description="measure memory in processes of their own")


def model_of(config: AdaptationBenchmarkConfig) -> lm.HookedLM:
    """A model with random weights."""
    sizes = {"n_blocks": config.n_blocks, "d_model": config.d_model, "d_vocab": config.d_vocab}
    return lm.wrap(random_native(0, **sizes))


def injection_of(config: AdaptationBenchmarkConfig, seed: int = 0) -> Injection:
    """Random tokens of the sizes asked for."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (config.n_context, config.n_context, config.n_context, config.tau + config.n_scored)
    drawn = [
        tuple(torch.randint(3, config.d_vocab, (n,), generator=generator).tolist()) for n in sizes
    ]
    before, after, injected, emitted = drawn
    return Injection((1, *before), (1, *after), injected, emitted, tau=config.tau)


def runs_of(given: Injection) -> tuple[Run, Run, Run]:
    """The text under the injection, under c0 alone, and under c1 from its start."""
    return append(given), none(given), swap(replace(given, refeed=given.tau))


def cached_rows(model: lm.HookedLM, given: Injection) -> list[Tensor]:
    """Logits [rows, d_vocab] of the three runs, each emitted token in a step of its own."""
    cache = BlockCache(model)
    native: Any = model.native
    found = []
    for run in runs_of(replace(given, emitted=given.emitted[: given.tau])):
        block, index = next(iter(run.predictors()))
        rows = [cache.logits(block)[index]]
        held = cache.cache_of([run.seen_next])
        for step, token in enumerate(given.emitted[given.tau :]):
            with torch.no_grad():
                logits = native(
                    input_ids=torch.tensor([[token]]),
                    attention_mask=torch.ones(1, held.get_seq_length() + 1, dtype=torch.long),
                    position_ids=torch.tensor([[run.next_position + step]]),
                    past_key_values=held,
                    use_cache=True,
                ).logits
            rows.append(logits[0, -1])
        found.append(torch.stack(rows))
    return found


def naive_rows(model: lm.HookedLM, given: Injection) -> list[Tensor]:
    """The same from one forward pass over all of a run for each of its tokens."""
    rows: list[list[Tensor]] = [[], [], []]
    for n in range(given.tau, len(given.emitted) + 1):
        for place, run in enumerate(runs_of(replace(given, emitted=given.emitted[:n]))):
            rows[place].append(packed_logits(model, [[run]])[0][0][-1])
    return [torch.stack(one) for one in rows]


def measure(config: AdaptationBenchmarkConfig) -> pd.DataFrame:
    """Columns: system, n_scored (tokens, under three contexts each), ratio (to the packed pass)."""
    model, given = model_of(config), injection_of(config)
    runs = runs_of(given)
    systems: dict[str, Callable[[], object]] = {
        PACKED: lambda: packed_rows(model, [runs]),
        SHARES: lambda: packed_rows(model, [runs], attention=True),
        CACHED: lambda: cached_rows(model, given),
    }
    if config.naive:
        systems[NAIVE] = lambda: naive_rows(model, given)
    seconds = interleaved_seconds(systems, config.n_rounds, "scoring")
    return pd.DataFrame(
        {
            "system": name,
            "n_scored": config.n_scored,
            "ratio": median_ratio(seconds, name, PACKED),
        }
        for name in systems
    )


def by_items(config: AdaptationBenchmarkConfig) -> pd.DataFrame:
    """Columns: n_items, ratio (seconds to those of the first number of items), times (items to it)."""
    model = model_of(config)
    systems = {str(n): lambda n=n: _score(model, config, n) for n in config.n_items}
    seconds = interleaved_seconds(systems, config.n_rounds, "items")
    first = config.n_items[0]
    return pd.DataFrame(
        {"n_items": n, "times": n / first, "ratio": median_ratio(seconds, str(n), str(first))}
        for n in config.n_items
    )


def _score(model: lm.HookedLM, config: AdaptationBenchmarkConfig, n_items: int) -> None:
    """Items one after another, of which nothing is kept."""
    for number in range(n_items):
        packed_rows(model, [runs_of(injection_of(config, number))])


def memory_rows(config: AdaptationBenchmarkConfig) -> pd.DataFrame:
    """Columns: n_items, peak_anonymous_mb; each in a process of its own."""
    rows = []
    for n_items in (config.n_items[0], 10 * config.n_items[0]):
        command = [sys.executable, "-m", "benchmarks.adaptation", "--work", str(n_items)]
        command.append(config.model_dump_json())
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peak = json.loads(done.stdout.splitlines()[-1])
        rows.append({"n_items": n_items, "peak_anonymous_mb": peak})
    return pd.DataFrame(rows)


def _work(n_items: int, config: AdaptationBenchmarkConfig) -> None:
    torch.set_num_threads(config.n_threads)
    with PeakWatch() as watch:
        _score(model_of(config), config, n_items)
    sys.stdout.write(f"{json.dumps(watch.anonymous_mb)}\n")


def tables(config: AdaptationBenchmarkConfig) -> Tables:
    """Tables "adaptation", "adaptation_items" and, if asked for, "adaptation_memory"."""
    found = {"adaptation": measure(config), "adaptation_items": by_items(config)}
    return found | {"adaptation_memory": memory_rows(config)} if config.memory else found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the tables."""
    run_benchmark(
        "adaptation", AdaptationBenchmarkConfig, tables, description=__doc__ or "", argv=argv
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _work(int(sys.argv[2]), AdaptationBenchmarkConfig.model_validate_json(sys.argv[3]))
    else:
        main()

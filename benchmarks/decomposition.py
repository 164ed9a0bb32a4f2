"""What a step of a decomposition costs next to a plain loop: `python -m benchmarks.decomposition`.

The model of `tms_5-2`, with random weights: a step costs the same for each. The plain loop trains one
seed, computes every example, and leaves all derivatives to autograd. Wall and processor time are medians
over interleaved rounds, a step and seed.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from analyses.running.command_line import Tables
from benchmarks.plain_decomposition import PlainLoop
from benchmarks.running import run_benchmark
from benchmarks.timing import interleaved_seconds, median_ratio
from lm_merge.decomposition.fit import Fit
from lm_merge.decomposition.settings import DecompositionSettings
from lm_merge.decomposition.targets.settings import TMSSettings
from lm_merge.decomposition.targets.tms import TMSTarget

PLAIN = "plain loop, one seed"


class DecompositionBenchmarkConfig(BaseModel):
    """Sizes, those of `tms_5-2` unless given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_features: PositiveInt = Field(default=5, description="features of the toy model")
    n_hidden: PositiveInt = Field(default=2, description="its dimensions")
    components: PositiveInt = Field(default=20, description="components of each layer")
    batch: PositiveInt = Field(default=1024, description="examples a step and seed")
    n_seeds: tuple[PositiveInt, ...] = Field(default=(1, 10), description="seeds in one batch")
    n_steps: PositiveInt = Field(default=20, description="steps a round")
    n_rounds: PositiveInt = Field(default=7, description="timed rounds")
    n_threads: PositiveInt = Field(default=1, description="torch threads")


class Timed:
    """Some steps as one call that keeps their processor time."""

    def __init__(self, step: Callable[[], object], n_steps: int) -> None:
        self.step, self.n_steps = step, n_steps
        self.cpu_seconds: list[float] = []

    def __call__(self) -> None:
        began = time.process_time()
        for _ in range(self.n_steps):
            self.step()
        self.cpu_seconds.append(time.process_time() - began)


def random_target(config: DecompositionBenchmarkConfig) -> TMSTarget:
    """A model with random weights of the size asked for."""
    settings = TMSSettings(n_features=config.n_features, n_hidden=config.n_hidden)
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(config.n_hidden, config.n_features, generator=generator)
    return TMSTarget(settings, {"W": W, "b": torch.zeros(config.n_features)})


def measure(config: DecompositionBenchmarkConfig) -> pd.DataFrame:
    """Columns: system, n_seeds, wall_ms and cpu_ms (a step and seed), ratio and cpu_ratio (to plain)."""
    target = random_target(config)
    settings = DecompositionSettings(components=config.components, batch=config.batch)
    first = Fit(target, settings, [0])
    plain = PlainLoop(
        target, settings, {name: one[0] for name, one in first.decomposition.tensors.items()}
    )
    generator = torch.Generator().manual_seed(1)
    timed = {PLAIN: Timed(lambda: plain.step(generator), config.n_steps)}
    seeds = {PLAIN: 1}
    for n in config.n_seeds:
        name = f"ours, {n} in a batch"
        fit = Fit(target, settings, range(n))
        timed[name], seeds[name] = Timed(fit.step, config.n_steps), n
    seconds = interleaved_seconds(timed, config.n_rounds, "decomposition")
    cpu = {name: one.cpu_seconds[1:] for name, one in timed.items()}  # the first is not counted
    return pd.DataFrame(
        {
            "system": name,
            "n_seeds": n,
            "wall_ms": 1e3 * median(seconds[name]) / (n * config.n_steps),
            "cpu_ms": 1e3 * median(cpu[name]) / (n * config.n_steps),
            "ratio": median_ratio(seconds, name, PLAIN) / n,
            "cpu_ratio": median_ratio(cpu, name, PLAIN) / n,
        }
        for name, n in seeds.items()
    )


def tables(config: DecompositionBenchmarkConfig) -> Tables:
    """Table "decomposition"."""
    return {"decomposition": measure(config)}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the table."""
    run_benchmark(
        "decomposition",
        DecompositionBenchmarkConfig,
        tables,
        description=__doc__ or "",
        argv=argv,
    )


if __name__ == "__main__":
    main()

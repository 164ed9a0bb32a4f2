"""What a merge operator costs relative to the step that contains it: `python -m benchmarks.operators`.

One token, batch 1, at the width of a 7B model. A whole such step does not fit small machines, so one
block is timed and multiplied by the number of blocks; the unembedding is left out, which only makes
the operator's share look larger.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from analyses.running.command_line import Tables
from benchmarks.pairs import random_native
from benchmarks.running import run_benchmark
from benchmarks.timing import interleaved_seconds
from lm_merge.operators import OPERATORS, needs_base
from lm_merge.spaces.latents.state_merge import StateMerge


class OperatorsConfig(BaseModel):
    """Sizes, those of Qwen2.5-7B unless given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    d_model: PositiveInt = Field(default=3584, description="width")
    n_blocks: PositiveInt = Field(default=28, description="blocks of a step")
    n_rounds: PositiveInt = Field(default=15, description="timed rounds")
    n_calls: PositiveInt = Field(default=20, description="calls of an operator a round")
    n_threads: PositiveInt = Field(default=2, description="torch threads")


def measure(config: OperatorsConfig) -> pd.DataFrame:
    """Columns: operator, dtype, call_ms, step_ms, share_of_step_pct."""
    model = random_native(0, n_blocks=1, d_model=config.d_model, d_vocab=8, n_positions=64)
    token = torch.tensor([[1]])
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        native: Any = model.to(dtype)
        states = torch.randn(3, 1, 1, config.d_model).to(dtype)

        def calls(name: str, states=states) -> None:
            base = states[2] if needs_base(OPERATORS[name]) else None
            merge = StateMerge(name, {})
            for _ in range(config.n_calls):
                merge(0.5, (1.0,), states[0], [states[1]], base)

        systems: dict[str, Any] = {name: (lambda name=name: calls(name)) for name in OPERATORS}
        systems["block"] = lambda native=native: native.model(token, use_cache=False)
        with torch.no_grad():
            seconds = interleaved_seconds(systems, config.n_rounds, str(dtype))
        step_ms = 1e3 * config.n_blocks * median(seconds["block"])
        for name in OPERATORS:
            call_ms = 1e3 * median(seconds[name]) / config.n_calls
            rows.append(
                {
                    "operator": name,
                    "dtype": str(dtype).removeprefix("torch."),
                    "call_ms": call_ms,
                    "step_ms": step_ms,
                    "share_of_step_pct": 100 * call_ms / step_ms,
                }
            )
    return pd.DataFrame(rows)


def tables(config: OperatorsConfig) -> Tables:
    """Table "operators"."""
    return {"operators": measure(config)}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the table."""
    run_benchmark("operators", OperatorsConfig, tables, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    main()

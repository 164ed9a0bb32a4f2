"""Drafted decoding of a merge, over bundled questions: `python -m benchmarks.assisted`.

Greedy text with prompt lookup, and with the host or the donor alone as assistant, against plain
greedy text: how many texts are equal, how many new tokens come of one pass of the merged host, and
how long it takes.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

import lm_merge as lm
from analyses.running.command_line import Tables, progress
from benchmarks.running import run_benchmark
from lm_merge.evaluation import question_set


class AssistedConfig(BaseModel):
    """The merge and how much text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="tiny-instruct", description="carries the forward pass")
    donor: str = Field(default="tiny-thinker", description="gives the other stream")
    operator: str = Field(default="slerp", description="operator of the merge")
    layer: int = Field(default=3, description="merged block")
    alpha: float = Field(default=0.5, description="donor's weight")
    n_prompts: PositiveInt = Field(default=200, description="prompts, a multiple of 4")
    n_new: PositiveInt = Field(default=40, description="new tokens at most")
    n_threads: PositiveInt = Field(default=2, description="torch threads")


def measure(config: AssistedConfig, *, quiet: bool = False) -> pd.DataFrame:
    """Columns: way, n, n_equal, tokens_per_pass, time_ratio (to plain greedy)."""
    host, donor = lm.load(config.host), lm.load(config.donor)
    merge = lm.LatentMerge(
        host, donor, operator=config.operator, layers=[config.layer], alpha=config.alpha
    )
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "prompt lookup": {"prompt_lookup_num_tokens": 4},
        "assistant: host alone": {"assistant_model": host},
        "assistant: donor alone": {"assistant_model": donor},
    }
    passes = {"n": 0}
    assert host.native is not None
    host.native.register_forward_pre_hook(lambda *_: passes.update(n=passes["n"] + 1))
    prompts = [question.prompt for question in question_set(config.n_prompts // 4)]
    texts: dict[str, list[torch.Tensor]] = {way: [] for way in ways}
    seconds, n_passes, n_tokens = (dict.fromkeys(ways, 0.0) for _ in range(3))
    for prompt in progress(prompts, "assisted decoding", quiet=quiet):
        ids = host.to_tokens(prompt, chat=True).input_ids
        for way, given in ways.items():
            passes["n"], start = 0, perf_counter()
            text = merge.generate(ids, max_new_tokens=config.n_new, do_sample=False, **given)
            seconds[way] += perf_counter() - start
            texts[way].append(text)
            n_passes[way] += passes["n"]
            n_tokens[way] += text.shape[1] - ids.shape[1]
    return pd.DataFrame(
        [
            {
                "way": way,
                "n": len(prompts),
                "n_equal": sum(map(torch.equal, texts[way], texts["plain"])),
                "tokens_per_pass": n_tokens[way] / n_passes[way],
                "time_ratio": seconds[way] / seconds["plain"],
            }
            for way in ways
        ]
    )


def tables(config: AssistedConfig) -> Tables:
    """Table "assisted"."""
    return {"assisted": measure(config)}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the table."""
    run_benchmark("assisted", AssistedConfig, tables, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    main()

"""What a merged token costs, in units of one model's token: `python -m benchmarks.decode`.

Rows: one Hugging Face model; the published method and a logit ensemble (both models whole); ours on
the native and on the hooked view; the limit, by parameters touched. Medians of interleaved rounds. With
`--device cuda --shape qwen2.5-7b`: milliseconds a step on that device, dynamic, recorded and compiled,
against the memory bandwidth measured in the same run (table "static_decode").
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Literal

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

import lm_merge as lm
from analyses.running.command_line import Tables
from benchmarks.memory import memory_rows
from benchmarks.pairs import decode_limit, prefill_limit, random_native
from benchmarks.peers import generate_ensemble, generate_published
from benchmarks.running import run_benchmark
from benchmarks.static_decode import measure_static
from benchmarks.timing import interleaved_seconds, median_ratio

ONE = "one model (transformers)"


class DecodeConfig(BaseModel):
    """Sizes of the pair and of the work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_blocks: PositiveInt = Field(default=12, description="blocks of each model")
    d_model: PositiveInt = Field(default=512, description="width, a multiple of 128")
    d_vocab: PositiveInt = Field(default=8000, description="vocabulary")
    layers: tuple[int, ...] = Field(default=(3, 7, 11), description="merged block, one at a time")
    batches: tuple[int, ...] = Field(default=(1, 8), description="prompts at once")
    n_prompt: PositiveInt = Field(default=64, description="tokens a prompt")
    n_new: PositiveInt = Field(default=48, description="new tokens")
    n_rounds: PositiveInt = Field(default=15, description="timed rounds")
    n_threads: PositiveInt = Field(default=2, description="torch threads")
    alpha: float = Field(default=0.5, description="donor's weight")
    operator: str = Field(default="slerp", description="operator of the merge")
    device: str | None = Field(
        default=None, description="measure static decoding on this device; needs shape"
    )
    shape: Literal["qwen2.5-7b", "tiny"] | None = Field(
        default=None, description="shape of the models on the device, instead of the sizes above"
    )
    dtype: Literal["bfloat16", "float16", "float32"] = Field(
        default="bfloat16", description="dtype of the models on the device"
    )
    compiled: bool = Field(default=True, description="measure the compiled step on the device, too")
    memory: bool = Field(default=True, description="measure memory in processes of their own")


def systems(
    host: lm.HookedLM, donor: lm.HookedLM, config: DecodeConfig, ids: torch.Tensor
) -> dict[str, Callable[[int], Any]]:
    """System name -> generate that many new tokens."""
    native: Any = host.native
    other: Any = donor.native
    last = max(config.layers)

    def greedy(n_new: int) -> dict[str, Any]:
        length = {"max_new_tokens": n_new, "min_new_tokens": n_new}
        return {"do_sample": False, "pad_token_id": 0, **length}

    merges = {
        layer: lm.LatentMerge(
            host, donor, operator=config.operator, layers=[layer], alpha=config.alpha
        )
        for layer in config.layers
    }

    def hooked(n_new: int) -> Any:
        with merges[last].hooks():
            return host.hooked.generate(
                ids, max_new_tokens=n_new, do_sample=False, stop_at_eos=False, verbose=False
            )

    def ours(layer: int) -> Callable[[int], Any]:
        return lambda n_new: merges[layer].generate(ids, **greedy(n_new))

    return {
        ONE: lambda n_new: native.generate(ids, **greedy(n_new)),
        f"published, l={last}": lambda n_new: generate_published(
            native, other, last, config.alpha, ids, **greedy(n_new)
        ),
        "logit ensemble": lambda n_new: generate_ensemble(native, other, ids, **greedy(n_new)),
        f"ours hooked, l={last}": hooked,
        **{f"ours, l={layer}": ours(layer) for layer in config.layers},
    }


def measure(config: DecodeConfig, batch: int) -> pd.DataFrame:
    """Ratios to one model, for one batch size: prefill, decode and the whole, each with its limit."""
    shape = {"n_blocks": config.n_blocks, "d_model": config.d_model, "d_vocab": config.d_vocab}
    host, donor = (lm.wrap(random_native(seed, **shape)) for seed in (0, 1))
    ids = torch.randint(3, config.d_vocab, (batch, config.n_prompt))
    runs = systems(host, donor, config, ids)
    timed = {
        (name, n_new): (lambda run=run, n_new=n_new: run(n_new))
        for name, run in runs.items()
        for n_new in (1, config.n_new)
    }
    by_key = {f"{name}|{n_new}": call for (name, n_new), call in timed.items()}
    with torch.no_grad():
        seconds = interleaved_seconds(by_key, config.n_rounds, f"decode, batch {batch}")
    prefill = {name: seconds[f"{name}|1"] for name in runs}
    whole = {name: seconds[f"{name}|{config.n_new}"] for name in runs}
    decode = {
        name: [long - short for long, short in zip(whole[name], prefill[name], strict=True)]
        for name in runs
    }
    part = median(prefill[ONE]) / median(whole[ONE])  # of one model's time that is prefill
    rows = []
    for name in runs:
        row = {"system": name, "batch": batch, "n_prompt": config.n_prompt}
        for phase, times in (("prefill", prefill), ("decode", decode), ("whole", whole)):
            row[f"{phase}_ratio"] = median_ratio(times, name, ONE)
        row["new_tokens_per_s"] = batch * config.n_new / median(whole[name])
        if name.startswith("ours, l="):
            layer = int(name.rpartition("=")[2])
            row["prefill_limit"] = prefill_limit(host, layer, config.n_prompt)
            row["decode_limit"] = decode_limit(host, layer)
            row["whole_limit"] = part * row["prefill_limit"] + (1 - part) * row["decode_limit"]
            row["whole_over_limit"] = row["whole_ratio"] / row["whole_limit"]
        rows.append(row)
    return pd.DataFrame(rows)


def tables(config: DecodeConfig) -> Tables:
    """Table "decode" and, if asked for, "decode_memory"; with a device, "static_decode" alone."""
    if (config.device is None) != (config.shape is None):
        raise ValueError(
            f"device={config.device} and shape={config.shape} belong together; give both or neither"
        )
    if config.device is not None:
        found = [measure_static(config, batch) for batch in config.batches]
        return {"static_decode": pd.concat(found, ignore_index=True)}
    speed = pd.concat([measure(config, batch) for batch in config.batches], ignore_index=True)
    if not config.memory:
        return {"decode": speed}
    memory = memory_rows(config.n_blocks, config.d_model, config.d_vocab)
    return {"decode": speed, "decode_memory": memory}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the table."""
    run_benchmark("decode", DecodeConfig, tables, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    main()

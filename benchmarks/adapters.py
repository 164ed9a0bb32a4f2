"""What merging adapters costs, and how exact it is next to PEFT: `python -m benchmarks.adapters --peer`.

Composing and running: random adapters of a random model of a stated size, by default that of a model
of 135M parameters with ten adapters. `--peer true`: the bundled adapters, merged by PEFT's
`add_weighted_adapter` and by us.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import lm_merge as lm
from analyses.running.command_line import Tables
from benchmarks.memory import memory_mb
from benchmarks.running import run_benchmark
from benchmarks.timing import interleaved_seconds, median_ratio
from lm_merge.models.adapters import Adapter
from lm_merge.models.adapters.running import shape_of
from lm_merge.models.adapters.settings import AdapterSettings
from lm_merge.operators.low_rank import LowRank

N_HEADS, N_KEY_VALUE_HEADS = 9, 3


class AdaptersConfig(BaseModel):
    """Sizes of the model, the adapters and the work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_blocks: PositiveInt = Field(default=30, description="blocks of the model")
    d_model: PositiveInt = Field(default=576, description="width, a multiple of 9")
    d_mlp: PositiveInt = Field(default=1536, description="width of the MLP")
    d_vocab: PositiveInt = Field(default=49152, description="vocabulary")
    rank: PositiveInt = Field(default=8, description="of every adapter, at 7 modules a block")
    n_adapters: tuple[PositiveInt, ...] = Field(default=(1, 3, 10), description="merged at once")
    batch: PositiveInt = Field(default=2, description="texts a forward pass")
    n_pos: PositiveInt = Field(default=128, description="tokens a text")
    n_rounds: PositiveInt = Field(default=5, description="timed rounds")
    n_threads: PositiveInt = Field(default=2, description="torch threads")
    peer: bool = Field(default=False, description="also the bundled adapters, by PEFT and by us")
    adapters: tuple[str, ...] = Field(
        default=("sums", "differences"), description="of the comparison with PEFT"
    )
    weights: tuple[float, ...] = Field(default=(0.7, 0.3), description="one an adapter")
    n_questions: PositiveInt = Field(default=50, description="of all skills, in that comparison")


def random_host(config: AdaptersConfig) -> lm.HookedLM:
    """A Llama model of the stated size with random weights."""
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=config.d_vocab,
        hidden_size=config.d_model,
        intermediate_size=config.d_mlp,
        num_hidden_layers=config.n_blocks,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_KEY_VALUE_HEADS,
        tie_word_embeddings=True,
    )
    return lm.wrap(LlamaForCausalLM(sizes).eval())


def random_adapter(host: lm.HookedLM, rank: int, seed: int) -> Adapter:
    """An adapter with random factors at every linear module of the blocks."""
    generator = torch.Generator().manual_seed(seed)
    deltas: dict[str, LowRank] = {}
    for path, module in host.require_native("a benchmark").named_modules():
        shape = shape_of(module) if path.endswith("_proj") else None
        if shape is not None:
            a = torch.randn(rank, shape[1], generator=generator)
            b = torch.randn(shape[0], rank, generator=generator)
            deltas[path] = LowRank(a, 0.01 * b)
    settings = AdapterSettings(r=rank, lora_alpha=rank)
    return Adapter(f"adapter{seed}", Path(), settings, deltas, {}, {})


def measure(config: AdaptersConfig) -> pd.DataFrame:
    """One row a number of adapters.

    Columns: n_adapters, compose_s and compose_cpu_s (adapters in memory -> ready for the first pass, in
    wall and in processor time, medians of n_rounds), adapters_mb (all their factors), added_mb
    (anonymous memory that composing took the first time), added_ratio, forward_ratio (merged forward
    pass to the plain one, median of interleaved rounds), and those of `folded_rows`.
    """
    host = random_host(config)
    tokens = torch.randint(3, config.d_vocab, (config.batch, config.n_pos))
    rows = []
    for n in config.n_adapters:
        adapters = [random_adapter(host, config.rank, seed) for seed in range(n)]
        before = memory_mb("self").get("RssAnon", 0.0)
        merge, *first = composed(host, adapters)
        added_mb = memory_mb("self").get("RssAnon", 0.0) - before
        again = [composed(host, adapters)[1:] for _ in range(config.n_rounds - 1)]
        wall, processor = zip(first, *again, strict=True)
        with torch.no_grad():
            ways = {"plain": lambda: host(tokens), "merged": lambda merge=merge: merge(tokens)}
            seconds = interleaved_seconds(ways, config.n_rounds, f"{n} adapters")
        size_mb = sum(one.n_bytes for one in adapters) / 1e6
        rows.append(
            {
                "n_adapters": n,
                "compose_s": median(wall),
                "compose_cpu_s": median(processor),
                "adapters_mb": size_mb,
                "added_mb": added_mb,
                "added_ratio": added_mb / size_mb,
                "forward_ratio": median_ratio(seconds, "merged", "plain"),
            }
        )
        del merge
    return pd.DataFrame(rows).merge(folded_rows(config, host, tokens), on="n_adapters")


def folded_rows(config: AdaptersConfig, host: lm.HookedLM, tokens: Tensor) -> pd.DataFrame:
    """One row a number of adapters, whose sum is in the weights of a second host.

    Columns: n_adapters, fold_s (adapters in memory -> the sum in the weights, wall time), folded_ratio
    (forward pass of that host to the plain one's, median of interleaved rounds).
    """
    other, rows = random_host(config), []
    other.hooked(tokens[:1, :1])  # the hooked view is built before anything is timed
    for n in config.n_adapters:
        adapters = [random_adapter(host, config.rank, seed) for seed in range(n)]
        start = time.perf_counter()
        with lm.AdapterMerge(other, adapters, alpha=1.0).hooks(folded=True), torch.no_grad():
            fold_s = time.perf_counter() - start
            ways = {"plain": lambda: host(tokens), "folded": lambda: other(tokens)}
            seconds = interleaved_seconds(ways, config.n_rounds, f"{n} adapters, folded")
        ratio = median_ratio(seconds, "folded", "plain")
        rows.append({"n_adapters": n, "fold_s": fold_s, "folded_ratio": ratio})
    return pd.DataFrame(rows)


def composed(
    host: lm.HookedLM, adapters: Sequence[Adapter]
) -> tuple[lm.AdapterMerge, float, float]:
    """A merge that has been on its host once; seconds that took by the clock and of the processor."""
    start, own = time.perf_counter(), time.process_time()
    merge = lm.AdapterMerge(host, adapters, alpha=1.0)
    with merge.attached("native"):
        return merge, time.perf_counter() - start, time.process_time() - own


def tables(config: AdaptersConfig) -> Tables:
    """Tables "adapters" and, with peer, "adapters_peer"."""
    found: Tables = {"adapters": measure(config)}
    if config.peer:
        from benchmarks.adapter_peers import peer_rows

        host = lm.load("tiny-instruct")
        found["adapters_peer"] = peer_rows(
            host, config.adapters, config.weights, config.n_questions
        )
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the tables."""
    run_benchmark("adapters", AdaptersConfig, tables, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    main()

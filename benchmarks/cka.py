"""What CKA of every block adds to the forward passes that it reads: `python -m benchmarks.cka`.

Host and donor read the same tokens, and with alphas a merge of them at each; all blocks are compared
in that one pass. Medians of interleaved rounds, and peak memory at ten times the tokens.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor

import lm_merge as lm
from analyses.running.command_line import Tables
from analyses.similarity.streams import StreamComparison, merged_name
from benchmarks.memory import PeakWatch
from benchmarks.pairs import random_native
from benchmarks.running import run_benchmark
from benchmarks.timing import interleaved_seconds, median_ratio
from lm_merge.metrics import CKAFitter, MinibatchCKA
from lm_merge.sites import record_resid_post

FORWARD = "forward passes alone"
MINIBATCH, EXACT = "+ CKA, minibatch", "+ CKA, exact (d x d float64)"
ALL = "+ all of analyses.similarity"


class CKAConfig(BaseModel):
    """Sizes of the pair and of the work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_blocks: PositiveInt = Field(default=12, description="blocks of each model")
    d_model: PositiveInt = Field(default=512, description="width, a multiple of 128")
    d_vocab: PositiveInt = Field(default=8000, description="vocabulary")
    alphas: tuple[float, ...] = Field(default=(0.25, 0.5, 0.75), description="merges, one each")
    batch: PositiveInt = Field(default=8, description="texts a forward pass")
    n_pos: PositiveInt = Field(default=64, description="tokens a text")
    n_rounds: PositiveInt = Field(default=7, description="timed rounds")
    n_batches: PositiveInt = Field(default=3, description="forward passes of the memory run")
    n_threads: PositiveInt = Field(default=2, description="torch threads")
    memory: bool = Field(default=True, description="measure memory in processes of their own")


class Streams:
    """The passes of the similarity analysis over random tokens: host, donor, and each merge."""

    def __init__(self, config: CKAConfig, alphas: Sequence[float]) -> None:
        self.shape = (config.batch, config.n_pos)
        sizes = {key: getattr(config, key) for key in ("n_blocks", "d_model", "d_vocab")}
        self.host, self.donor = (lm.wrap(random_native(seed, **sizes)) for seed in (0, 1))
        self.merge = lm.LatentMerge(self.host, self.donor, layers=[config.n_blocks // 2], alpha=0.5)
        self.alphas = tuple(alphas)
        self.mask = torch.ones(self.shape, dtype=torch.long)
        self.pairs = [("host", "donor")]
        self.pairs += [(one, merged_name(a)) for a in self.alphas for one in ("host", "donor")]

    def passes(self, read: Callable[[lm.HookedLM, Tensor], Any]) -> dict[str, Any]:
        """What `read` gives of every stream on new tokens."""
        tokens = torch.randint(3, self.host.d_vocab, self.shape)
        found = {"host": read(self.host, tokens), "donor": read(self.donor, tokens)}
        for alpha in self.alphas:
            self.merge.alpha = alpha
            with self.merge.hooks():
                found[merged_name(alpha)] = read(self.host, tokens)
        return found

    def forward(self) -> None:
        """The passes, of which nothing is kept."""

        def run(model: lm.HookedLM, tokens: Tensor) -> None:
            native: Any = model.native
            native(tokens, use_cache=False, logits_to_keep=1)

        self.passes(run)

    def recorded(self) -> dict[str, Tensor]:
        """Streams [n_layers, batch, pos, d_model] by name."""
        return self.passes(lambda model, tokens: record_resid_post(model, tokens, self.mask))


def minibatch(streams: Streams) -> Callable[[], None]:
    """One pass with minibatch CKA of every block."""
    ckas = [MinibatchCKA(streams.pairs) for _ in range(streams.host.n_layers)]

    def step() -> None:
        states = streams.recorded()
        for layer, cka in enumerate(ckas):
            cka.update({name: state[layer].flatten(0, 1) for name, state in states.items()})

    return step


def exact(streams: Streams) -> Callable[[], None]:
    """One pass with exact CKA of every block, by cross-products of the streams."""
    fitters = [{pair: CKAFitter() for pair in streams.pairs} for _ in range(streams.host.n_layers)]

    def step() -> None:
        states = streams.recorded()
        for layer, by_pair in enumerate(fitters):
            for (one, other), fitter in by_pair.items():
                fitter.update(*(states[name][layer].flatten(0, 1) for name in (one, other)))

    return step


def everything(streams: Streams) -> Callable[[], None]:
    """One pass with all that the similarity analysis measures."""
    comparison = StreamComparison(streams.host.n_layers, streams.alphas)
    return lambda: comparison.update(streams.recorded(), streams.mask.bool())


def measure(config: CKAConfig) -> pd.DataFrame:
    """Columns: system, n_streams, n_tokens (a pass), ratio (to the forward passes alone)."""
    rows = []
    for alphas in ((), config.alphas):
        streams = Streams(config, alphas)
        systems = {FORWARD: streams.forward, MINIBATCH: minibatch(streams), EXACT: exact(streams)}
        if alphas:
            systems[ALL] = everything(streams)
        with torch.no_grad():
            seconds = interleaved_seconds(systems, config.n_rounds, f"{len(alphas)} merges")
        rows += [
            {
                "system": name,
                "n_streams": 2 + len(alphas),
                "n_tokens": config.batch * config.n_pos,
                "ratio": median_ratio(seconds, name, FORWARD),
            }
            for name in systems
        ]
    return pd.DataFrame(rows)


def memory_rows(config: CKAConfig) -> pd.DataFrame:
    """Columns: system, n_streams, n_tokens, peak_anonymous_mb; each in a process of its own."""
    rows = []
    for n_batches in (config.n_batches, 10 * config.n_batches):
        for name in (FORWARD, MINIBATCH):
            given = config.model_copy(update={"n_batches": n_batches}).model_dump_json()
            command = [sys.executable, "-m", "benchmarks.cka", "--work", name, given]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(
                {
                    "system": name,
                    "n_streams": 2 + len(config.alphas),
                    "n_tokens": n_batches * config.batch * config.n_pos,
                    "peak_anonymous_mb": json.loads(done.stdout.splitlines()[-1]),
                }
            )
    return pd.DataFrame(rows)


def _work(name: str, config: CKAConfig) -> None:
    """The memory run: the passes of one system, alone in this process."""
    torch.set_num_threads(config.n_threads)
    with PeakWatch() as watch:
        streams = Streams(config, config.alphas)
        step = streams.forward if name == FORWARD else minibatch(streams)
        with torch.no_grad():
            for _ in range(config.n_batches):
                step()
    sys.stdout.write(f"{json.dumps(watch.anonymous_mb)}\n")


def tables(config: CKAConfig) -> Tables:
    """Table "cka" and, if asked for, "cka_memory"."""
    found = {"cka": measure(config)}
    return found | {"cka_memory": memory_rows(config)} if config.memory else found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure, record, print the table."""
    run_benchmark("cka", CKAConfig, tables, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _work(sys.argv[2], CKAConfig.model_validate_json(sys.argv[3]))
    else:
        main()

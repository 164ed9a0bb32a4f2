"""Peak anonymous memory of a merge against one model, each in a process of its own (Linux only)."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import torch

from benchmarks.pairs import random_native

N_PROMPT, N_NEW = 64, 48


def memory_rows(n_blocks: int, d_model: int, d_vocab: int) -> pd.DataFrame:
    """Peaks of both kinds and, above an import-only process, their ratio to checkpoints and caches.

    Columns: system, peak_anonymous_mb, peak_rss_mb, checkpoints_and_caches_mb, anonymous_ratio,
    rss_ratio. Weights that stay memory-mapped count in RSS and not as anonymous.
    """
    if not Path("/proc/self/status").exists():
        return pd.DataFrame()
    with tempfile.TemporaryDirectory() as folder:
        for seed in (0, 1):
            model = random_native(seed, n_blocks=n_blocks, d_model=d_model, d_vocab=d_vocab)
            model.save_pretrained(Path(folder) / str(seed))
        weights = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6
        config = model.config
        head = config.hidden_size // config.num_attention_heads
        width = 2 * config.num_key_value_heads * head * 4  # keys and values in float32
        cache = n_blocks * (N_PROMPT + N_NEW) * width / 1e6
        peaks = {what: _peak_mb(what, folder) for what in ("import", "one", "merge")}
    rows = []
    for what, name, n_models in (("one", "one model", 1), ("merge", "ours, last block", 2)):
        needed = n_models * (weights + cache)
        anonymous, rss = peaks[what]
        rows.append(
            {
                "system": name,
                "peak_anonymous_mb": anonymous,
                "peak_rss_mb": rss,
                "checkpoints_and_caches_mb": needed,
                "anonymous_ratio": (anonymous - peaks["import"][0]) / needed,
                "rss_ratio": (rss - peaks["import"][1]) / needed,
            }
        )
    return pd.DataFrame(rows)


def _peak_mb(what: str, folder: str) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.memory", what, folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


class PeakWatch(threading.Thread):
    """Polls the process's anonymous memory; memory-mapped files do not count."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous_mb, self.rss_mb, self.done = 0.0, 0.0, False

    def run(self) -> None:
        while not self.done:
            now = memory_mb("self")
            self.anonymous_mb = max(self.anonymous_mb, now["RssAnon"])
            self.rss_mb = max(self.rss_mb, now["VmRSS"])
            time.sleep(0.002)

    def __enter__(self) -> "PeakWatch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done = True
        self.join()


def memory_mb(pid: int | str) -> dict[str, float]:
    """Memory of a process by the kernel's names, such as RssAnon, in MB.

    Empty once the process has ended, or where there is no /proc.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines)
    return {
        name: int(value.split()[0]) * 1024 / 1e6
        for name, value in fields.items()
        if value.endswith(" kB")
    }


def _work(what: str, folder: Path) -> None:
    import lm_merge as lm

    if what == "import":
        from transformer_lens.model_bridge import sources  # noqa: F401 # what loading imports

        return
    host = lm.load(folder / "0")
    ids = torch.randint(3, host.d_vocab, (1, N_PROMPT))
    system = host
    if what == "merge":
        donor = lm.load(folder / "1")
        system = lm.LatentMerge(host, donor, layers=[host.n_layers - 1], alpha=0.5)
    system.generate(
        ids, max_new_tokens=N_NEW, min_new_tokens=N_NEW, do_sample=False, pad_token_id=0
    )


if __name__ == "__main__":
    with PeakWatch() as watch:
        _work(sys.argv[1], Path(sys.argv[2]))
    sys.stdout.write(f"{json.dumps([watch.anonymous_mb, watch.rss_mb])}\n")

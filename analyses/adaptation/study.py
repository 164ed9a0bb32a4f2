"""Does the space in which two models are merged decide how long the merge still follows new context?

    python -m analyses.adaptation.study measure FOLDER 0 figures/adaptation
    python -m analyses.adaptation.study summarise figures/adaptation

Host tiny-newest, donor tiny-oldest, of one training seed (`python -m lm_merge.zoo.build_bindings --out
FOLDER --seed N`); merged in latents (lerp at all blocks), weights (linear), adapters (linear, on
tiny-binder) and logits (soft) at several alphas, each under one injection. `summarise` joins the seeds.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from jsonargparse import auto_cli
from safetensors.torch import save_file

import lm_merge as lm
from analyses.adaptation import analysis
from analyses.adaptation.config import AdaptationConfig
from lm_merge.accumulation import wide
from lm_merge.models import HookedLM
from lm_merge.spaces import AdapterMerge, Composed
from lm_merge.statistics.intervals import student_interval

ALPHAS = (0.25, 0.4, 0.5, 0.6, 0.75)
KEYS = ["space", "alpha"]
SPACES = ("latents", "weights", "adapters", "logits")
METRICS = ("adapted_frac", "restricted_mean_latency_tokens", "gap", "index_mean")
logger = logging.getLogger(__name__)


def write_adapter(base: HookedLM, model: HookedLM, folder: Path) -> Path:
    """What a model differs from its base by, in the linear layers of the blocks, as a LoRA adapter.

    Of full rank, by singular value decomposition, so that base and adapter together are the model.
    """
    folder.mkdir(parents=True)
    own = model.require_native("an adapter").state_dict()
    tensors: dict[str, torch.Tensor] = {}
    ranks, modules = set(), set()
    for name, old in base.require_native("an adapter").state_dict().items():
        if old.ndim != 2 or ".layers." not in name:
            continue
        left, values, right = torch.linalg.svd(wide(own[name] - old), full_matrices=False)
        root, key = values.sqrt(), f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{key}.lora_A.weight"] = (root[:, None] * right).float().contiguous()
        tensors[f"{key}.lora_B.weight"] = (left * root).float().contiguous()
        ranks.add(len(values))
        modules.add(name.split(".")[-2])
    (rank,) = ranks
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": sorted(modules)}
    config |= {
        "task_type": "CAUSAL_LM",
        "bias": "none",
        "base_model_name_or_path": str(base.source),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
    return folder


def merges(pair: Path, alphas: tuple[float, ...]) -> Iterator[tuple[str, float, Composed]]:
    """Both parents (alpha 0 and 1 of space "parent"), and the merge of every space at every alpha."""
    host, donor, base = (lm.load(pair / f"tiny-{name}") for name in ("newest", "oldest", "binder"))
    yield "parent", 0.0, host
    yield "parent", 1.0, donor
    latents = lm.LatentMerge(host, [donor], operator="lerp", layers=range(host.n_layers), alpha=0.5)
    logits = lm.LogitEnsemble([host, donor])
    for alpha in alphas:
        latents.alpha = logits.alpha = alpha
        yield "latents", alpha, latents
        yield "logits", alpha, logits
        recipe = {"space": "weights", "operator": "linear", "alpha": alpha}
        sources = {"host": str(pair / "tiny-newest"), "donors": [str(pair / "tiny-oldest")]}
        yield "weights", alpha, lm.compose({**recipe, **sources})
    with TemporaryDirectory() as scratch:
        folders = [write_adapter(base, one, Path(scratch) / one.name) for one in (host, donor)]
        merged = AdapterMerge(base, folders, coefficients=(1.0, 0.0))
        for alpha in alphas:
            merged.coefficients = (1 - alpha, alpha)
            yield "adapters", alpha, merged


def measure(
    pair: Path, seed: int, out: Path, n_items: int = 20, alphas: tuple[float, ...] = ALPHAS
) -> None:
    """Measure one training seed's merges; a table `spaces_seed<N>.csv`.

    Args:
        pair: folder with tiny-newest, tiny-oldest and tiny-binder of one training seed
        seed: that seed, for the table
        out: folder of the table
        n_items: items, the same for every merge
        alphas: weights of the donor
    """
    config = AdaptationConfig(
        systems={"merge": "tiny-newest"},
        conditions=("injection",),
        n_items=n_items,
        batch_size=n_items,
        states=False,
    )
    rows = []
    for space, alpha, merge in merges(pair, alphas):
        (row,) = analysis.run(config, systems={"merge": merge})["summary"].to_dict("records")
        rows.append({"seed": seed, "space": space, "alpha": alpha, **row})
        logger.info("%s, alpha %g: adapted %.2f", space, alpha, row["adapted_frac"])
    out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows).drop(columns=["system", "condition"])
    table.to_csv(out / f"spaces_seed{seed}.csv", index=False)


def summarise(out: Path) -> None:
    """Join the seeds' tables: means with 95 % t intervals over seeds, and latents against each space.

    Args:
        out: folder of the tables; `spaces.csv` and `spaces_contrasts.csv` come next to them
    """
    files = sorted(out.glob("spaces_seed*.csv"))
    table = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    means = [
        {
            **rows[KEYS].iloc[0].to_dict(),
            "metric": metric,
            **_over_seeds(rows[metric].to_numpy(dtype=float)),
        }
        for _, rows in table.groupby(KEYS, sort=False)
        for metric in METRICS
    ]
    pd.DataFrame(means).to_csv(out / "spaces.csv", index=False)
    latents = table.loc[table["space"] == "latents"].set_index(["alpha", "seed"])
    contrasts = []
    for space in SPACES[1:]:
        other = table.loc[table["space"] == space].set_index(["alpha", "seed"])
        for metric in METRICS:
            differences = (latents[metric] - other[metric]).reset_index()
            for alpha, rows in differences.groupby("alpha"):
                key = {"space": "latents", "opponent": space, "alpha": alpha, "metric": metric}
                contrasts.append({**key, **_over_seeds(rows[metric].to_numpy(dtype=float))})
    pd.DataFrame(contrasts).to_csv(out / "spaces_contrasts.csv", index=False)


def _over_seeds(values: np.ndarray) -> dict[str, float]:
    kept = values[~np.isnan(values)]
    error = float(kept.std(ddof=1)) / len(kept) ** 0.5 if len(kept) > 1 else float("nan")
    mean = float(kept.mean())
    low, high = student_interval(mean, error, len(kept) - 1)
    return {"value": mean, "low": low, "high": high, "n": len(kept)}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    auto_cli([measure, summarise])

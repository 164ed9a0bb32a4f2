"""How many components a merge keeps, whether planted features are found, and the merge as a LoRA."""

from collections.abc import Sequence

import torch

from analyses.component_merge.config import ComponentMergeConfig
from analyses.component_merge.methods import Updates
from analyses.component_merge.scoring import Row
from analyses.component_merge.trained import seen_by
from lm_merge.decomposition.fit import Fit
from lm_merge.decomposition.merging import components_as_adapter, weighted_components
from lm_merge.metrics.decomposition import best_components
from lm_merge.models.hooked_lm import HookedLM
from lm_merge.runs.record import Run
from lm_merge.spaces.adapters.adapter_merge import AdapterMerge
from lm_merge.spaces.adapters.export import write_adapters

KEPT = 0.01  # importance from which a component counts as kept


def component_rows(config: ComponentMergeConfig, updates: Updates, seed: int) -> list[Row]:
    """By update and weight: components, those with importance, |kept| over |change| (Frobenius)."""
    rows: list[Row] = []
    names = list(map(str, config.tuned))
    for tuned, change, found in zip(names, updates.changes, updates.components, strict=True):
        for name, one in found.items():
            row: Row = {"update": tuned, "seed": seed, "layer": name.removesuffix(".weight")}
            row |= {"n_components": len(one.weights), "n_kept": int((one.weights > KEPT).sum())}
            row |= {"norm_share": float(one.update().norm() / change[name].norm())}
            rows.append(row)
    return rows


@torch.no_grad()
def planted_rows(
    config: ComponentMergeConfig, updates: Updates, trained: Sequence[Fit], seed: int
) -> list[Row]:
    """By planted feature: cosine of its column with the best component's, and their lengths' ratio."""
    rows: list[Row] = []
    if not config.is_toy:
        return rows
    for tuned, change, fit in zip(config.tuned, updates.changes, trained, strict=True):
        one = fit.decomposition.factors()["linear1"]
        cosines, ratios = best_components(one.U[0], one.V[0], change["W"])
        rows += [
            {
                "update": str(tuned),
                "seed": seed,
                "feature": feature,
                "cosine": float(cosines[feature]),
                "ratio": float(ratios[feature]),
            }
            for feature in tuned
            if isinstance(feature, int)
        ]
    return rows


@torch.no_grad()
def save_adapter(
    config: ComponentMergeConfig,
    record: Run,
    host: HookedLM,
    trained: Sequence[Fit],
    scale: float,
    seed: int,
) -> None:
    """Write the merge by components as a LoRA in PEFT's format, next to the record."""
    found = [weighted_components(seen_by(config, fit, seed)) for fit in trained]
    adapter = components_as_adapter(found, scale, name=f"adapter-{seed}", base=host.name)
    folder = record.folder / adapter.name
    folder.mkdir()
    write_adapters(AdapterMerge(host, [adapter], coefficients=(1.0,)), folder)
    record.add_file(folder)

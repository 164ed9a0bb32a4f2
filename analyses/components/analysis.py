"""What `python -m analyses.components` measures, draws and reports."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.components.config import ComponentsConfig
from analyses.decomposition.analysis import CHECKPOINTS, TARGETS
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from figures.component_ablation import plot_component_ablation
from lm_merge.accumulation import wide
from lm_merge.decomposition.decomposition import Decomposition, Seen
from lm_merge.decomposition.fit import Fit
from lm_merge.decomposition.kept import masked
from lm_merge.decomposition.registry import experiment
from lm_merge.decomposition.targets.build import build_target
from lm_merge.decomposition.targets.language import LanguageTarget, token_batch
from lm_merge.decomposition.targets.texts import Texts
from lm_merge.metrics.divergence import kl_nats
from lm_merge.models.hooked_lm import HookedLM
from lm_merge.runs.identity import config_hash
from lm_merge.runs.record import Run
from lm_merge.statistics.intervals import student_interval
from lm_merge.threads import fit_threads

Row = dict[str, object]


class Place(NamedTuple):
    """A component and its mean importance over tokens."""

    layer: str
    component: int
    mean_importance: float


def run(config: ComponentsConfig, record: Run, *, quiet: bool = True) -> Tables:
    """The tables "inputs" and "ablation"; the decomposition's checkpoint is kept and found again."""
    fit_threads(0)  # the matrices are small: threads would wait for each other
    one, root = config.decomposition, record.folder.parent
    made = experiment(one.experiment, one.preset, one.fit, one.target)
    target = build_target(made.target, root / TARGETS)
    assert isinstance(target, LanguageTarget)
    record.update(seeds=(config.seed,))
    fit = Fit(target, made.fit, one.seeds)
    fit.run(checkpoint=root / CHECKPOINTS / f"{config_hash(one)}.safetensors")
    source = target.sources[0]
    n = min(config.n_texts, len(source.ids))
    texts = Texts(source.ids[:n], source.real[:n], source.labels[:n])
    batch = token_batch(texts.ids[None], texts.real[None], target.model.device)
    with torch.no_grad():
        seen = fit.decomposition.see(batch)
        places = important(seen, config.n_components)
        inputs = [
            row for place in places for row in input_rows(config, target.model, texts, seen, place)
        ]
        ablation = ablation_rows(fit.decomposition, texts, batch.ids[0], places)
    return {"inputs": pd.DataFrame(inputs), "ablation": pd.DataFrame(ablation)}


@torch.no_grad()
def important(seen: Seen, n: int) -> list[Place]:
    """The `n` components with the largest mean importance over tokens, of all layers."""
    weights = seen.batch.weights[0]
    found = [
        Place(name, component, value)
        for name, g in seen.importances.items()
        for component, value in enumerate(((weights @ g[0]) / weights.sum()).tolist())
    ]
    return sorted(found, key=lambda place: -place.mean_importance)[:n]


@torch.no_grad()
def input_rows(
    config: ComponentsConfig, model: HookedLM, texts: Texts, seen: Seen, place: Place
) -> list[Row]:
    """The tokens with the largest importance times inner activation, each with what is before it."""
    factors, inputs = seen.factors[place.layer], seen.inputs[place.layer]
    activations = factors.inner(inputs)[0, :, place.component]
    importances = seen.importances[place.layer][0, :, place.component]
    needed = importances * activations.abs() * seen.batch.weights[0]
    width = len(needed) // len(texts.labels)
    rows: list[Row] = []
    for rank, at in enumerate(needed.topk(min(config.n_inputs, len(needed))).indices.tolist()):
        text, pos = divmod(at, width)
        ids = texts.ids[text].tolist()
        rows.append(
            {
                **place._asdict(),
                "rank": rank,
                "importance": float(importances[at]),
                "activation": float(activations[at]),
                "before": model.tokenizer.decode(ids[max(0, pos - config.n_before) : pos]),
                "token": model.tokenizer.decode([ids[pos]]),
                "skill": texts.labels[text],
            }
        )
    return rows


@torch.no_grad()
def ablation_rows(
    found: Decomposition, texts: Texts, ids: Int[Tensor, "texts pos"], places: Sequence[Place]
) -> list[Row]:
    """By component and skill: the rise of the loss without it, and KL from the whole model."""
    target: Any = found.target
    native = target.model.require_native("a decomposition")
    whole = native(input_ids=ids).logits
    counts = texts.real[:, 1 : ids.shape[1]].to(whole)
    rows: list[Row] = []
    for layer, component, _ in places:
        mask = torch.ones(found.factors()[layer].V.shape[1], device=ids.device)
        mask[component] = 0.0
        with masked(found, {layer: mask}):
            without = native(input_ids=ids).logits
        kl = by_text(kl_nats(whole, without)[:, :-1, 0], counts)
        change = by_text(losses(without, ids) - losses(whole, ids), counts)
        for skill in dict.fromkeys(texts.labels):
            own = [at for at, label in enumerate(texts.labels) if label == skill]
            rise = float(change[own].mean())
            spread = float(change[own].std()) if len(own) > 1 else math.nan
            low, high = student_interval(rise, spread / len(own) ** 0.5, len(own) - 1)
            rows.append(
                {
                    "layer": layer,
                    "component": component,
                    "skill": skill,
                    "kl": float(kl[own].mean()),
                    "loss_change": rise,
                    "low": low,
                    "high": high,
                    "n": len(own),
                }
            )
    return rows


def losses(logits: Tensor, ids: Int[Tensor, "texts pos"]) -> Float[Tensor, "texts pos_less_1"]:
    """Cross-entropy of each next token, nats."""
    flat = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    return flat.view(len(ids), -1)


def by_text(values: Tensor, counts: Tensor) -> Float[Tensor, " texts"]:
    """Mean over the real tokens of each text, in double precision on the CPU."""
    return wide((values * counts).sum(dim=1) / counts.sum(dim=1)).cpu()


def draw(tables: Tables, config: object = None) -> Sequence[Figure]:
    """What each ablation costs, by skill."""
    table = tables["ablation"]
    return [("component_ablation", plot_component_ablation(table), table)]


def findings(tables: Tables, config: object = None) -> list[Finding]:
    """Rows of `summary.json`. Keys: layer, component, skill, kl, loss_change, low, high, n."""
    rows: Any = tables["ablation"].astype(object)
    return rows.where(rows.notna(), None).to_dict("records")


def summary(tables: Tables, config: object = None) -> str:
    """Each component with its first tokens and the skill that its ablation costs most."""
    lines = []
    inputs: Any = tables["inputs"]
    ablation: Any = tables["ablation"]
    for (layer, component), rows in inputs.groupby(["layer", "component"], sort=False):
        own = ablation[(ablation.layer == layer) & (ablation.component == component)]
        most = own.loc[own.loss_change.idxmax()]
        tokens = " ".join(map(repr, rows.token))
        mean = rows.mean_importance.iloc[0]
        lines.append(
            f"{layer} {component}: mean importance {mean:.3f}, tokens {tokens}; without it "
            f"{most.skill} {most.loss_change:+.3f} nats a token"
        )
    return "\n".join(lines)

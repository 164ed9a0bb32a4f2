"""The decomposed updates of a merge, trained now or taken from their checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import torch

from analyses.component_merge.config import ComponentMergeConfig
from analyses.component_merge.methods import Components, Updates, Weights
from analyses.decomposition.analysis import CHECKPOINTS, TARGETS
from lm_merge.decomposition.components import Layer
from lm_merge.decomposition.decomposition import Seen
from lm_merge.decomposition.fit import Fit, generator_of
from lm_merge.decomposition.merging import WeightedComponents, weighted_components
from lm_merge.decomposition.registry import experiment
from lm_merge.decomposition.targets.build import build_target
from lm_merge.decomposition.targets.language import LanguageTarget
from lm_merge.decomposition.targets.update import TMSUpdate
from lm_merge.runs.identity import config_hash

ROUNDED = 0.5  # importance from which the rounded merge keeps a component wholly
DATA_STREAM = 3  # of the examples that importance is taken on; training draws other streams
EXAMPLES_PER_TEXT = 16


def fits(config: ComponentMergeConfig, root: Path, seed: int) -> list[Fit]:
    """The decomposition of each update; checkpoints are kept and found again."""
    found = []
    for one in config.decompositions(seed):
        made = experiment(one.experiment, one.preset, one.fit, one.target)
        target = build_target(made.target, root / TARGETS)
        fit = Fit(target, made.fit, one.seeds)
        fit.run(checkpoint=root / CHECKPOINTS / f"{config_hash(one)}.safetensors")
        found.append(fit)
    return found


@torch.no_grad()
def updates_of(
    config: ComponentMergeConfig, base: Weights, trained: Sequence[Fit], seed: int
) -> Updates:
    """What the merges are made of. Importance is taken on the data of each update's own training."""
    weighted, rounded, changes = [], [], []
    for fit in trained:
        seen = seen_by(config, fit, seed)
        weighted.append(named(fit, weighted_components(seen)))
        rounded.append(named(fit, weighted_components(seen, threshold=ROUNDED)))
        tuned = tuned_weights(fit)
        changes.append({name: tuned[name] - base[name] for name in base})
    return Updates(base, changes, weighted, rounded, config.density, seed)


def seen_by(config: ComponentMergeConfig, fit: Fit, seed: int) -> Seen:
    """Importances on examples that the training did not draw."""
    target = fit.decomposition.target
    n = config.n_texts * (EXAMPLES_PER_TEXT if config.is_toy else 1)
    device = next(iter(target.layers.values())).weight.device
    return fit.decomposition.see(target.batch([generator_of(seed, DATA_STREAM, device)], n))


def named(fit: Fit, found: dict[str, WeightedComponents]) -> Components:
    """Components by the name of the weight that they add to, in its orientation."""
    layers = fit.decomposition.target.layers
    return {weight_name(fit, name): _turned(layers[name], one) for name, one in found.items()}


def weight_name(fit: Fit, layer: str) -> str:
    """The model's name of a layer's weight."""
    return f"{layer}.weight" if isinstance(fit.decomposition.target, LanguageTarget) else "W"


def _turned(layer: Layer, one: WeightedComponents) -> WeightedComponents:
    """An embedding's weight has a row for each token, its map a column."""
    return WeightedComponents(one.V.T, one.U.T, one.weights) if layer.embedding else one


def tuned_weights(fit: Fit) -> Weights:
    """All weights after the fine-tuning."""
    target = fit.decomposition.target
    if isinstance(target, TMSUpdate):
        return target.tuned
    assert isinstance(target, LanguageTarget)
    native = target.model.require_native("a merge by components")
    return {name: one.detach() for name, one in native.named_parameters()}

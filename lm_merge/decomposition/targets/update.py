"""The change that fine-tuning made to a model, as a target: the base is fixed, the change decomposed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.decomposition.components import Layer, Tensors
from lm_merge.decomposition.masked import Apply
from lm_merge.decomposition.targets.language import (
    LanguageTarget,
    chosen_modules,
    frozen_model,
    layer_of,
    texts_of,
)
from lm_merge.decomposition.targets.settings import LanguageSettings, TMSSettings, UpdateSettings
from lm_merge.decomposition.targets.sparse_features import FeatureBatch, SparseFeatures
from lm_merge.decomposition.targets.tms import train_tms


def update_layer(base: Layer, tuned: Layer) -> Layer:
    """The map base + (tuned - base), of which only the difference is decomposed."""
    return replace(tuned, fixed=base.weight, weight=tuned.weight - base.weight)


@dataclass(frozen=True)
class TMSUpdate:
    """What fine-tuning on further features changed in a TMS; data of both, in equal parts.

    base, tuned: weights before and after. old, new: features that the base knows, and all that the tuned
    model knows.
    """

    settings: TMSSettings
    base: Tensors
    tuned: Tensors
    old: tuple[int, ...]
    new: tuple[int, ...]

    @property
    def layers(self) -> dict[str, Layer]:
        W, change = self.base["W"], self.tuned["W"] - self.base["W"]
        first = Layer("linear1", change, fixed=W)
        second = Layer("linear2", change.T, bias=self.tuned["b"], fixed=W.T, tied_to="linear1")
        return {"linear1": first, "linear2": second}

    def batch(self, generators: Sequence[torch.Generator], n_examples: int) -> FeatureBatch:
        data = SparseFeatures(self.settings.n_features, self.settings.on)
        return data.batch(generators, n_examples, active=(self.old, self.new))

    def forward(self, batch: FeatureBatch, apply: Apply, copies: int = 1) -> Tensor:
        state = batch.x if copies == 1 else batch.x.repeat(1, copies, 1)
        return apply("linear2", apply("linear1", state)).relu()

    def divergence(self, output: Tensor, clean: Tensor) -> Float[Tensor, "seeds rows"]:
        """Mean squared error over the outputs."""
        return (output - clean).square().mean(dim=-1)


def update_target(
    settings: UpdateSettings,
    folder: Path,
    *,
    device: str | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> LanguageTarget | TMSUpdate:
    """The change of a TMS or of a language model."""
    build = tms_update if isinstance(settings.base, TMSSettings) else language_update
    return build(settings, folder, device=device, note=note)


def tms_update(
    settings: UpdateSettings,
    folder: Path,
    *,
    device: str | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> TMSUpdate:
    """A TMS that knows the base's active features, and the same fine-tuned on `tuned` more."""
    base = settings.base
    if not isinstance(base, TMSSettings) or base.active is None or isinstance(settings.tuned, str):
        raise ValueError("an update of a TMS needs base.active and tuned, both lists of features")
    new = tuple(sorted({*base.active, *settings.tuned}))
    before = train_tms(base)
    changed = base.model_copy(update={"active": new, "seed": 1000 + settings.seed})
    after = train_tms(changed, before)
    place = device or "cpu"
    first, second = ({n: one.to(place) for n, one in each.items()} for each in (before, after))
    return TMSUpdate(base, first, second, base.active, new)


def language_update(
    settings: UpdateSettings,
    folder: Path,
    *,
    device: str | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> LanguageTarget:
    """The tuned model, decomposed into its base and its change, on texts of both in equal parts.

    What is not decomposed (norms, for example) is the tuned model's.
    """
    base = settings.base
    if not isinstance(base, LanguageSettings) or not isinstance(settings.tuned, str):
        raise ValueError(
            "an update of a language model needs a base and the name of the tuned model"
        )
    before, after = frozen_model(base.model, device), frozen_model(settings.tuned, device)
    old, new = (chosen_modules(model, base.modules) for model in (before, after))
    layers = {
        name: update_layer(layer_of(name, old[name]), layer_of(name, new[name])) for name in new
    }
    own = base.model_copy(update={"model": settings.tuned, "seed": settings.seed})
    return LanguageTarget(after, new, layers, [texts_of(own, after), texts_of(base, before)])

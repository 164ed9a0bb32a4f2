"""The change that fine-tuning made to a model, as a target: the base is fixed, the change decomposed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lm_merge.decomposition.components import Layer
from lm_merge.decomposition.targets.language import (
    LanguageTarget,
    chosen_modules,
    frozen_model,
    layer_of,
    texts_of,
)
from lm_merge.decomposition.targets.settings import LanguageSettings, UpdateSettings


def update_layer(base: Layer, tuned: Layer) -> Layer:
    """The map base + (tuned - base), of which only the difference is decomposed."""
    return replace(tuned, fixed=base.weight, weight=tuned.weight - base.weight)


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

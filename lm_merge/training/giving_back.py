"""What a model takes back after a merge: weights, and the optimizer's moments."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lm_merge.models.classifier import load_classifier
from lm_merge.training.rounds_settings import RoundsSettings
from lm_merge.training.state import read_state, write_state


def averaged_moments(states: Sequence[Path], weights: Sequence[float]) -> dict[str, Tensor]:
    """Weighted means of the moments of several states."""
    parts = [read_state(state)[0] for state in states]
    return {
        name: sum(
            (w * one[name] for w, one in zip(weights, parts, strict=True)),
            start=torch.zeros_like(parts[0][name]),
        )
        for name in parts[0]
    }


def give_back(
    own: Path,
    place: Path,
    merged: Mapping[str, Tensor],
    averaged: Mapping[str, Tensor],
    settings: RoundsSettings,
) -> None:
    """theta <- (1 - b) theta + b merged, for the state `own`, written to `place`.

    b: `settings.give_back`; 0 keeps every bit.
    """
    model, (moments, facts) = load_classifier(own), read_state(own)
    b = settings.give_back
    if b > 0:
        with torch.no_grad():
            for name, values in model.model.state_dict().items():
                if values.is_floating_point():
                    values.lerp_(merged[name].to(values), b)
    kept = {"keep": moments, "reset": {}, "average": dict(averaged)}[settings.moments]
    write_state(model.model, kept, facts, place)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(place)

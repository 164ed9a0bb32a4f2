"""Toy targets, trained once and kept under the hash of their settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_merge.decomposition.components import Tensors
from lm_merge.decomposition.saving import read_tensors, write_tensors
from lm_merge.decomposition.targets.resid_mlp import ResidMLPTarget, train_resid_mlp
from lm_merge.decomposition.targets.settings import ResidMLPSettings, TMSSettings
from lm_merge.decomposition.targets.tms import TMSTarget, n_learned, train_tms
from lm_merge.runs.identity import config_hash

N_TRIES = 50
ToySettings = TMSSettings | ResidMLPSettings


def toy_target(
    settings: ToySettings,
    folder: Path,
    *,
    device: str | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> TMSTarget | ResidMLPTarget:
    """The trained target, from `folder` or trained now and kept there.

    A TMS that learned fewer features than asked is refused and the next seed tried; `note` is given a
    sentence about each. Raises ValueError after 50 seeds.
    """
    for seed in range(settings.seed, settings.seed + N_TRIES):
        tried: Any = settings.model_copy(update={"seed": seed})
        tensors = {name: one.to(device or "cpu") for name, one in _kept(tried, folder).items()}
        if isinstance(tried, ResidMLPSettings):
            return ResidMLPTarget.of(tried, tensors)
        learned = n_learned(tensors)
        if learned == tried.n_features:
            return TMSTarget(tried, tensors)
        note(f"target seed {seed} learned {learned} of {tried.n_features} features: next seed")
    raise ValueError(
        f"no target of the seeds {settings.seed} to {settings.seed + N_TRIES - 1} learned all "
        f"{settings.n_features} features; train longer or give another seed"
    )


def _kept(settings: ToySettings, folder: Path) -> Tensors:
    path = folder / f"{settings.kind}-{config_hash(settings)}.safetensors"
    if path.exists():
        return read_tensors(path)[0]
    train: Any = train_tms if isinstance(settings, TMSSettings) else train_resid_mlp
    tensors = train(settings)
    write_tensors(path, tensors, {"settings": settings.model_dump(mode="json")})
    return tensors

"""Small targets with random weights, which need no training."""

import torch

from lm_merge.decomposition.targets.resid_mlp import ResidMLPTarget
from lm_merge.decomposition.targets.settings import ResidMLPSettings, TMSSettings
from lm_merge.decomposition.targets.tms import TMSTarget

PAPER = {
    "remainder": False,
    "losses": {
        "faithfulness": {"weight": 1.0},
        "stochastic": {"weight": 1.0},
        "layerwise": {"weight": 1.0},
        "importance": {"weight": 1e-3, "p": 2.0},
    },
}


def tms(*, identity: bool = False, n_features: int = 5, n_hidden: int = 2) -> TMSTarget:
    generator = torch.Generator().manual_seed(0)
    settings = TMSSettings(n_features=n_features, n_hidden=n_hidden, identity=identity, on=0.2)
    W = torch.randn(n_hidden, n_features, generator=generator)
    return TMSTarget(settings, {"W": W, "b": -0.1 * torch.ones(n_features)})


def resid_mlp(n_layers: int = 2) -> ResidMLPTarget:
    generator = torch.Generator().manual_seed(0)
    settings = ResidMLPSettings(n_features=6, d_model=40, n_layers=n_layers, n_neurons=3, on=0.3)
    return ResidMLPTarget.of(settings, resid_mlp_tensors(settings, generator))


def resid_mlp_tensors(settings: ResidMLPSettings, generator: torch.Generator) -> dict:
    shapes = {"W_E": (settings.n_features, settings.d_model)}
    for i in range(settings.n_layers):
        shapes[f"layers.{i}.W_in"] = (settings.n_neurons, settings.d_model)
        shapes[f"layers.{i}.W_out"] = (settings.d_model, settings.n_neurons)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {name: tensor / tensor.shape[1] ** 0.5 for name, tensor in drawn.items()}

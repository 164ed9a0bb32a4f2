"""Experiments and presets by name: each is a few settings on top of one base."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lm_merge.decomposition.settings import DecompositionSettings, merged
from lm_merge.decomposition.targets.settings import TargetSettings

Preset = Literal["delta", "paper"]
Settings = dict[str, Any]


class Experiment(BaseModel):
    """A target and how it is decomposed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="one of EXPERIMENTS")
    preset: Preset = Field(description="which set of recipes")
    target: TargetSettings = Field(description="what is decomposed")
    fit: DecompositionSettings = Field(description="how")


def _losses(importance: float, p: float, *, faithful: float | None = None) -> Settings:
    losses: Settings = {
        "stochastic": {"weight": 1.0},
        "layerwise": {"weight": 1.0},
        "importance": {"weight": importance, "p": p},
    }
    return losses if faithful is None else {"faithfulness": {"weight": faithful}, **losses}


TARGETS: dict[str, Settings] = {
    "tms_5-2": {"kind": "tms"},
    "tms_5-2-id": {"kind": "tms", "identity": True},
    "tms_40-10": {
        "kind": "tms", "n_features": 40, "n_hidden": 10, "batch": 8192, "zero_bias": True,
    },
    "tms_40-10-id": {
        "kind": "tms", "n_features": 40, "n_hidden": 10, "batch": 8192, "zero_bias": True,
        "identity": True,
    },
    "resid_mlp1": {"kind": "resid_mlp"},
    "resid_mlp2": {"kind": "resid_mlp", "n_layers": 2, "n_neurons": 25},
    "resid_mlp3": {
        "kind": "resid_mlp", "n_layers": 3, "n_neurons": 17, "n_features": 102, "steps": 10_000,
    },
    "resid_mlp_small": {
        "kind": "resid_mlp", "n_features": 20, "n_neurons": 10, "d_model": 100, "on": 0.05,
    },
    "ss_emb": {
        "kind": "language", "model": "SimpleStories/SimpleStories-1.25M",
        "modules": ("model.embed_tokens",), "n_tokens": 512,
    },
    "lm_trio": {
        "kind": "language", "model": "tiny-instruct",
        "modules": ("model.embed_tokens", "model.layers.3.*"),
    },
    "update_tms": {
        "kind": "update", "tuned": (4, 5),
        "base": {
            "kind": "tms", "n_features": 8, "n_hidden": 12, "active": (0, 1, 2, 3), "steps": 4000,
            "zero_bias": True,
        },
    },
    "update_trio": {
        "kind": "update", "tuned": "tiny-thinker",
        "base": {"kind": "language", "model": "tiny-instruct", "modules": ("*",)},
    },
}  # fmt: skip

# arXiv 2506.20790, appendix: losses of stochastic masks, faithfulness instead of a remainder
PAPER_BASE: Settings = {
    "components": 20, "gate_width": 16, "remainder": False, "one_sided_leak": False,
    "faithful_start": 0, "lr": 1e-3, "steps": 40_000, "batch": 4096,
    "losses": _losses(3e-3, 1.0, faithful=1.0),
}  # fmt: skip
_TMS_40 = {"components": 200, "losses": _losses(1e-4, 2.0, faithful=1.0)}
_RESID = {"schedule": "constant", "batch": 2048, "losses": _losses(1e-5, 2.0, faithful=1.0)}
PAPER: dict[str, Settings] = {
    "tms_40-10": _TMS_40,
    "tms_40-10-id": _TMS_40,
    "resid_mlp1": {**_RESID, "components": 100, "lr": 2e-3, "steps": 30_000},
    "resid_mlp2": {**_RESID, "components": 400, "steps": 50_000},
    "resid_mlp3": {
        **_RESID, "components": 500, "gate_width": 128, "steps": 200_000,
        "losses": _losses(0.5e-5, 2.0, faithful=1.0),
    },
    "resid_mlp_small": {**_RESID, "components": 20, "lr": 2e-3, "steps": 30_000},
    "ss_emb": {
        "components": 100, "gate_width": 1, "lr": 1e-4, "schedule": "constant", "batch": 4,
        "steps": 50_000, "lr_warmup_frac": 0.01,
        "losses": {**_losses(1e-6, 2.0, faithful=1.0), "stochastic": None},
    },
}  # fmt: skip

# ours: the remainder is masked as one more component, and U V starts at the weights
DELTA_BASE: Settings = {"losses": DecompositionSettings.model_fields["losses"].default}
DELTA: dict[str, Settings] = {
    "tms_5-2": {"steps": 6000},
    "tms_5-2-id": {"steps": 5000},
    "update_tms": {"components": 8, "steps": 2500, "batch": 512},
    "lm_trio": {
        "components": 32,
        "gate_width": 8,
        "lr": 3e-3,
        "steps": 300,
        "batch": 8,
        "eval_every": 300,
        "eval_batch": 32,
        "losses": {"layerwise": None, "importance": {"weight": 1e-3, "p": 1.0}},
    },
    # a pass for each of the 58 modules would cost 29 times as much as one with all of them masked
    "update_trio": {
        "components": 16,
        "gate_width": 8,
        "lr": 3e-3,
        "steps": 300,
        "batch": 8,
        "eval_every": 300,
        "eval_batch": 32,
        "losses": {"layerwise": None, "importance": {"weight": 1e-3, "p": 1.0}},
    },
}


def experiment(
    name: str,
    preset: Preset = "delta",
    changes: Settings | None = None,
    target: Settings | None = None,
) -> Experiment:
    """An experiment by name and preset, with changes of its decomposition's and target's settings.

    Raises ValueError for an unknown name.

    >>> experiment("tms_5-2", "paper").fit.steps
    40000
    """
    if name not in TARGETS:
        raise ValueError(f"experiment={name!r} is unknown; choose from {', '.join(TARGETS)}")
    base, own = (PAPER_BASE, PAPER) if preset == "paper" else (DELTA_BASE, DELTA)
    settings = merged(merged(base, own.get(name, {})), changes or {})
    return Experiment.model_validate(
        {
            "name": name,
            "preset": preset,
            "target": {**TARGETS[name], **(target or {})},
            "fit": settings,
        }
    )


EXPERIMENTS = tuple(TARGETS)

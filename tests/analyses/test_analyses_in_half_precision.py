"""Every analysis runs on checkpoints in half precision as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lm_merge as lm
from analyses import suggest
from analyses.running.command import config_class_of
from analyses.running.command_line import analysis_of

ALONE = {"compare_with": (), "n_texts": 2}
SIZES: dict[str, dict[str, Any]] = {
    "comparison": {"n_per_category": 1, "seeds": (0,), "operators": ("lerp",), "max_new_tokens": 4},
    "curvature": {"layers": (7,), "n_texts": 1, "n_points": 8, "alphas": ()},
    "layerwise": {"layers": (3, 7), "operators": ("lerp",), "n_prompts": 2, **ALONE},
    "similarity": {"n_prompts": 4, "compare_with": ("weights:lerp", "logits:soft")},
    "spaces": {"n_prompts": 4, "operators": ("lerp",), "alphas": (0.5,)},
    "tokens": {"max_new_tokens": 2},
}


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def recipe(request, tmp_path_factory) -> dict[str, Any]:
    """A recipe of two bundled models, saved in half precision."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    for name in ("tiny-instruct", "tiny-thinker"):
        model = lm.load(name)
        model.native.to(getattr(torch, request.param)).save_pretrained(folder / name)
        model.tokenizer.save_pretrained(folder / name)
    names = {"host": str(folder / "tiny-instruct"), "donors": (str(folder / "tiny-thinker"),)}
    return {**names, "operator": "lerp", "layers": {3: 0.5}}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_an_analysis_runs_on_checkpoints_in_half_precision(name, recipe):
    config = config_class_of(name)(recipe=recipe, **SIZES[name])
    analysis = analysis_of(name)
    findings = analysis.findings(analysis.run(config), config)
    values = np.array([row["value"] for row in findings], dtype=float)
    assert np.isfinite(values).mean() > 0.5
    assert not np.isinf(values).any()


@pytest.mark.slow
def test_suggest_ranks_merges_of_models_in_half_precision(recipe):
    ranked = suggest.rank(recipe, prompts=["12+34 = ?"], layers=(3,), operators=("lerp",))
    wide = {**recipe, "host": "tiny-instruct", "donors": ("tiny-thinker",)}
    exact = suggest.rank(wide, prompts=["12+34 = ?"], layers=(3,), operators=("lerp",))
    for signal in ("kl_prompt", "bound", "distance"):
        assert ranked[signal].to_numpy() == pytest.approx(exact[signal].to_numpy(), rel=0.1)

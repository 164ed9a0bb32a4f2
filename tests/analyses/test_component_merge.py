"""Merges by components: the toy whole, and the weights of each method."""

import json

import pandas as pd
import pytest
import torch
from peft import PeftModel
from torch.testing import assert_close

from analyses.component_merge.config import METHODS, ComponentMergeConfig
from analyses.component_merge.methods import FUNCTIONS, Updates
from analyses.component_merge.scoring import SkillScorer
from analyses.component_merge.trained import fits, updates_of
from analyses.running.command import command
from analyses.running.command_line import run_recorded
from analyses.running.options import OutputOptions
from lm_merge.decomposition.merging import WeightedComponents, components_as_adapter
from lm_merge.models.loading import load

FIT = {"steps": 2, "faithful_start": 9, "batch": 64, "components": 6, "gate_width": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    command(
        "component_merge",
        [
            "--experiment=update_tms", f"--fit={json.dumps(FIT)}", "--scales=[0.5, 1.0]",
            "--base={\"steps\": 50, \"batch\": 64}", f"--runs={runs}",
        ],
    )  # fmt: skip
    (found,) = runs.glob("*-component_merge-*")
    return found


def test_every_method_is_scored_on_every_feature_at_its_best_scale(folder):
    merges = pd.read_parquet(folder / "merges.parquet")
    dev = pd.read_parquet(folder / "dev.parquet")
    assert list(merges.method.unique()) == ["base", "(4, 5)", "(6, 7)", *METHODS]
    assert set(merges.skill) == {f"feature {i}" for i in range(8)}
    best = dev.sort_values("value").groupby("method").scale.last()
    for method in METHODS:
        assert set(merges[merges.method == method].scale) == {best[method]}
    rows = json.loads((folder / "summary.json").read_text())
    assert len(rows) == len(merges)
    assert rows[0]["scale"] is None


def test_planted_features_are_looked_for_in_their_own_update(folder):
    planted = pd.read_parquet(folder / "planted.parquet")
    assert list(planted.feature) == [4, 5, 6, 7]
    assert planted.cosine.between(-1, 1).all()


def updates() -> Updates:
    generator = torch.Generator().manual_seed(0)
    base = {"W": torch.randn(3, 4, generator=generator), "b": torch.ones(4)}
    pairs = [
        (torch.randn(3, 2, generator=generator), torch.randn(2, 4, generator=generator))
        for _ in range(2)
    ]
    whole = [{"W": WeightedComponents(U, V, torch.ones(2))} for U, V in pairs]
    changes = [{"W": U @ V, "b": torch.ones(4)} for U, V in pairs]
    return Updates(base, changes, whole, whole, 1.0, 0)


def test_components_that_are_the_whole_change_merge_as_task_arithmetic_does():
    given = updates()
    by_components = FUNCTIONS["components"](given, 0.5)
    assert_close(by_components["W"], FUNCTIONS["task_arithmetic"](given, 0.5)["W"])
    assert_close(by_components["b"], given.base["b"])  # without components: the base's
    assert_close(FUNCTIONS["dare_linear"](given, 0.5), FUNCTIONS["task_arithmetic"](given, 0.5))
    assert_close(FUNCTIONS["linear"](given, 1.0), FUNCTIONS["task_arithmetic"](given, 0.5))


def test_the_adapter_is_the_merge_and_leaves_out_what_has_no_weight():
    U, V = torch.randn(3, 2), torch.randn(2, 4)
    one = {"layer": WeightedComponents(U, V, torch.tensor([0.25, 0.0]))}
    adapter = components_as_adapter([one, one], 2.0, name="merged", base="folder")
    delta = adapter.deltas["layer"]
    assert delta.rank == 2
    assert_close(delta.scale * delta.b @ delta.a, 2.0 * 2 * one["layer"].update())
    nothing = {"layer": WeightedComponents(U, V, torch.zeros(2))}
    with pytest.raises(ValueError, match="no component has a weight"):
        components_as_adapter([nothing], 1.0, name="merged", base="folder")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"methods": ("tise",)}, "'tise'"),
        ({"updates": ("tiny-coder",)}, "at least two"),
        ({"experiment": "update_tms", "updates": ("tiny-coder", "tiny-thinker")}, "features"),
    ],
)
def test_wrong_settings_are_refused(given, problem):
    with pytest.raises(ValueError, match=problem):
        ComponentMergeConfig(**given)


@pytest.mark.slow
def test_the_saved_adapter_is_the_merge_that_was_scored_and_peft_loads_it(tmp_path):
    modules = ["model.embed_tokens", "model.layers.3.mlp.*", "lm_head"]
    config = ComponentMergeConfig(
        fit={"steps": 2, "faithful_start": 20, "batch": 2, "components": 4, "gate_width": 2},
        base={"modules": modules, "n_texts": 4},
        methods=("components",),
        scales=(0.5,),
        n_dev=1,
        n_test=2,
        n_texts=2,
    )
    folder, _ = run_recorded("component_merge", config, output=OutputOptions(runs=tmp_path))
    scorer = SkillScorer.of(config)
    updates = updates_of(config, scorer.base, fits(config, tmp_path, 0), 0)
    scorer.put(FUNCTIONS["components"](updates, 0.5))
    ids = torch.arange(12)[None] + 40
    with torch.no_grad():
        ours = scorer.model(ids)
        host = load("tiny-instruct", dtype="float32").require_native("a test")
        before = host(input_ids=ids).logits
        theirs = PeftModel.from_pretrained(host, str(folder / "adapter-0")).eval()
        loaded = theirs(input_ids=ids).logits
    assert (ours - before).abs().max() > 1e-2
    assert_close(loaded, ours, atol=1e-3, rtol=1e-4)

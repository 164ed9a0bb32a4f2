"""A recipe in mergekit's format is one of ours, and settings by filter name what they lack."""

import pytest
import yaml

import lm_merge as lm
from lm_merge import cli
from lm_merge.recipes import Recipe, WeightRecipe
from lm_merge.recipes.describe import describe
from lm_merge.spaces.weights import make_weight_plan

SLERP = {
    "merge_method": "slerp",
    "base_model": "tiny-instruct",
    "models": [{"model": "tiny-thinker"}],
    "parameters": {"t": 0.5},
    "dtype": "float32",
}
OURS = {"space": "weights", "host": "tiny-instruct", "donors": ["tiny-thinker"]}
ATTENTION = [{"filter": "self_attn", "value": 0.2}]


def test_it_becomes_a_recipe_for_weights_that_survives_a_round_trip(tmp_path):
    recipe = Recipe.load(SLERP)
    assert isinstance(recipe, WeightRecipe)
    assert (recipe.operator, len(recipe.sources)) == ("slerp", 2)
    again = Recipe.load(recipe.save(tmp_path / "ours.yaml"))
    assert again == recipe
    assert describe(again) == describe(recipe)


def test_both_formats_plan_the_same_merge():
    host = {"model": "tiny-instruct", "dtype": "float32"}
    ours = make_weight_plan({**OURS, "host": host, "operator": "slerp", "alpha": 0.5})
    theirs = make_weight_plan(SLERP)
    assert [one.weights for one in ours.tensors] == [one.weights for one in theirs.tensors]
    assert [one.dtype for one in ours.tensors] == [one.dtype for one in theirs.tensors]


@pytest.mark.parametrize(
    "recipe",
    [
        {**SLERP, "parameters": {"t": ATTENTION}},
        {**OURS, "operator": "slerp", "operator_args": {"t": ATTENTION}},
        {
            "merge_method": "task_arithmetic",
            "base_model": "tiny-instruct",
            "models": [{"model": "tiny-thinker", "parameters": {"weight": ATTENTION}}],
        },
    ],
    ids=["mergekit", "ours", "by model"],
)
def test_filters_without_a_last_entry_for_the_other_tensors_are_refused(recipe):
    with pytest.raises(
        ValueError, match="fits tensor 'model.embed.*add a last entry .*- value: ..."
    ):
        make_weight_plan(recipe)


def test_an_outer_level_stands_in_where_no_filter_fits():
    models = [{"model": "tiny-thinker", "parameters": {"weight": ATTENTION}}]
    recipe = {"merge_method": "task_arithmetic", "base_model": "tiny-instruct", "models": models}
    plan = make_weight_plan({**recipe, "parameters": {"weight": 0.7}})
    assert {one.weights for one in plan.tensors} == {(0.2,), (0.7,)}


def test_a_filter_that_fits_no_tensor_is_noted():
    plan = make_weight_plan(
        {**SLERP, "parameters": {"t": [{"filter": "mpl", "value": 1}, {"value": 0}]}}
    )
    assert any("filter 'mpl' of t fits no tensor" in note for note in plan.notes)


def test_a_filter_of_our_format_that_fits_no_tensor_is_refused_unless_noted(tmp_path, capsys):
    filters = [{"filter": "mpl", "value": 1}, {"value": 0}]
    recipe = {**OURS, "operator": "slerp", "operator_args": {"t": filters}}
    with pytest.raises(ValueError, match="'mpl' of t fits no tensor.*'- filter: mlp'.*_filters"):
        make_weight_plan(recipe)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe, "unused_filters": "note"}))
    cli.main(["weights", str(path), str(tmp_path / "out")])
    assert "filter 'mpl' of t fits no tensor" in capsys.readouterr().err
    assert "filter 'mpl' of t fits no tensor" in (tmp_path / "out" / "README.md").read_text()


def test_it_accepts_differences_by_name():
    assert Recipe.load({**SLERP, "accept": ["rope", "heads"]}).accept == ("rope", "heads")
    with pytest.raises(ValueError, match="accept='rope' is no list"):
        Recipe.load({**SLERP, "accept": "rope"})
    with pytest.raises(ValueError, match="rope.*norm_eps"):
        Recipe.load({**SLERP, "accept": ["ropes"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer_source": {"model": "a"}}, "tokenizer_source=.* is no text"),
        ({"tokenizer_source": 1}, "tokenizer_source=1 is no text"),
        ({"dtype": 16}, "dtype=16 is no text"),
        ({"parameters": {"t": [{"filter": 1, "value": 1}]}}, "t has filter=1, which is no text"),
        ({"parameters": {"t": [{"value": [{"value": 1}]}]}}, "filters inside of a filter's value"),
        ({"parameters": {"t": float("inf")}}, "t=inf is not finite"),
    ],
)
def test_values_of_another_type_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe.load({**SLERP, **change})


def test_sources_that_a_space_cannot_load_are_refused_in_one_sentence():
    latents = {"donors": ["tiny-thinker"], "layers": {3: 0.5}}
    host = {"model": "tiny-instruct", "task": "classification"}
    with pytest.raises(ValueError, match="task="):
        lm.compose({"host": host, **latents})
    for recipe in (latents, {**OURS, "alpha": 0.5}):
        with pytest.raises(OSError, match="'x' is no folder and no name of an adapter"):
            lm.compose({**recipe, "host": {"model": "tiny-instruct", "adapter": "x"}})


def test_an_adapter_after_a_plus_is_one_of_the_model():
    models = [{"model": "tiny-instruct@v1+sums"}, {"model": "tiny-coder"}]
    recipe = Recipe.load({"merge_method": "linear", "models": models})
    assert recipe.host.adapter == "sums"
    assert (recipe.host.model, recipe.host.revision) == ("tiny-instruct", "v1")
    assert recipe.donors[0].adapter is None


def test_a_source_is_loaded_on_its_own_device(monkeypatch):
    from lm_merge.spaces import source_loader

    asked = {}
    real = source_loader.load_or_keep
    monkeypatch.setattr(
        source_loader,
        "load_or_keep",
        lambda name, **how: asked.setdefault(name, how) and real(name, **how | {"device": "cpu"}),
    )
    donor = {"model": "tiny-thinker", "device": "meta"}
    lm.compose({"host": "tiny-instruct", "donors": [donor], "layers": {3: 0.5}}, device="cpu")
    assert {name: how["device"] for name, how in asked.items()} == {
        "tiny-instruct": "cpu",
        "tiny-thinker": "meta",
    }

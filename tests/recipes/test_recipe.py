"""Recipes are data that survive a round trip and refuse what they do not know."""

from pathlib import Path

import pytest
from pydantic import ValidationError

import lm_merge as lm
from lm_merge.spaces.weights import make_weight_plan

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
MINIMAL = {"host": "a", "donors": ["b"], "layers": [1], "alpha": 0.5}


def test_a_recipe_saved_and_loaded_is_the_same(tmp_path):
    recipe = lm.Recipe.load(
        {
            "host": {"model": "a", "revision": "main", "dtype": "bfloat16"},
            "donors": ["b", "c"],
            "layers": {20: 0.5, 25: 0.75},
            "donor_weights": [1.0, 2.0],
            "operator": "lerp",
            "accept": ["rope"],
        }
    )
    path = recipe.save(tmp_path / "r.yaml")
    assert lm.Recipe.load(path) == recipe
    assert "\n  20: 0.5\n" in path.read_text()  # blocks are numbers to a reader, too


def test_unknown_keys_and_two_alphas_are_errors():
    with pytest.raises(ValidationError, match="lambda"):
        lm.Recipe.load({**MINIMAL, "lambda": 3})
    with pytest.raises(ValidationError, match="both give the donors' weight"):
        lm.Recipe.load({**MINIMAL, "layers": {1: 0.5}})


def test_data_are_for_weights_and_survive_a_round_trip(tmp_path):
    with pytest.raises(
        ValidationError, match="data: only space 'weights' takes this, not 'latents'"
    ):
        lm.Recipe.load({**MINIMAL, "data": ["12+34 = ?"]})
    for data in ("prompts.txt", ["12+34 = ?", "sort 3 1 2"]):
        given = {"space": "weights", "host": "a", "donors": ["b"], "operator": "regmean"}
        recipe = lm.Recipe.load({**given, "data": data})
        assert lm.Recipe.load(recipe.save(tmp_path / "r.yaml")) == recipe


def test_a_file_that_is_no_mapping_is_named(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n- 2\n")
    with pytest.raises(ValueError, match=r"list.yaml holds list, not a mapping"):
        lm.Recipe.load(path)


def test_yaml_runs_no_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("host: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(
        ValueError, match=r"evil.yaml is no plain YAML: could not determine a constr"
    ):
        lm.Recipe.load(path)


def test_a_merge_knows_its_recipe_and_a_recipe_makes_the_merge(
    tiny_instruct, tiny_thinker, tmp_path
):
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, layers={2: 0.25, 5: 0.5}, positions="last")
    again = lm.compose(merge.recipe.save(tmp_path / "r.yaml"))
    assert again.recipe == merge.recipe
    tokens = tiny_instruct.to_tokens("12+34 = ?", chat=True).input_ids
    assert (merge(tokens) == again(tokens)).all()


def test_the_bundled_recipes_are_found():
    assert "bundled" in [path.stem for path in RECIPES]  # without any, the next test runs for none


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_that_comes_along_is_valid_and_the_bundled_ones_speak(path):
    recipe = lm.Recipe.load(path)
    if recipe.space == "weights":
        make_weight_plan(path)
    if path.stem.startswith("bundled"):
        text = lm.compose(recipe).generate("What is the capital of Norway?", chat=True)
        assert isinstance(text, str)
        assert text

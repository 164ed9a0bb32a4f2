"""A recipe gets the class of its space, as an object, as content and as a field."""

import copy
import pickle

import pytest
from pydantic import BaseModel, ValidationError

import lm_merge as lm
from lm_merge.recipes import LatentRecipe, LogitRecipe, Recipe, WeightRecipe

PAIR = {"host": "a", "donors": ["b"]}
LATENTS = {**PAIR, "layers": [1], "alpha": 0.5}


class Measured(BaseModel):
    recipe: Recipe


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (LATENTS, LatentRecipe),
        ({**PAIR, "space": "weights", "alpha": 0.5}, WeightRecipe),
        ({**PAIR, "space": "logits"}, LogitRecipe),
    ],
)
def test_every_way_gives_the_class_of_the_space(content, kind, tmp_path):
    recipe = lm.Recipe(**content)
    assert type(recipe) is kind
    assert type(Recipe.model_validate(content)) is kind
    field = Measured.model_validate({"recipe": content})
    assert field.recipe == recipe == Recipe.load(content)
    assert Measured.model_validate_json(field.model_dump_json()) == field
    assert copy.deepcopy(recipe) == pickle.loads(pickle.dumps(recipe)) == recipe
    path = recipe.save(tmp_path / "r.yaml")
    assert Recipe.load(path) == Measured.model_validate({"recipe": str(path)}).recipe == recipe


def test_files_with_the_fields_of_every_space_stay_valid():
    unset = {"layers": None, "positions": "all", "donor_stream": "pure", "data": None, "base": None}
    recipe = Recipe.load({**PAIR, **unset, "space": "logits", "operator_args": {}})
    assert (recipe.layers, recipe.positions, recipe.base) == (None, "all", None)
    with pytest.raises(ValidationError, match="positions: only space 'latents' takes this"):
        Recipe.load({**PAIR, **unset, "space": "weights", "positions": "last"})


def test_other_fields_are_checked_again():
    recipe = Recipe.load(LATENTS)
    assert recipe.with_fields(alpha=0.25).alpha == 0.25
    with pytest.raises(ValidationError, match="both give the donors' weight"):
        recipe.with_fields(layers={1: 0.5})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({**LATENTS, "alpha": None}, "alpha"),
        ({**LATENTS, "donor_weights": None}, "donor_weights"),
        ({**LATENTS, "operator_args": {"lambda_reg": None}}, "lambda_reg"),
        ({**PAIR, "layers": {3: None}}, "layers"),
        ({**PAIR, "space": "logits", "alpha": None}, "alpha"),
        ({**PAIR, "space": "weights", "operator_args": {"density": None}}, "density"),
        ({**PAIR, "space": "weights", "operator_args": {"t": [0.5, None]}}, "t="),
        ({**PAIR, "space": "weights", "operator_args": {"t": [{"value": None}]}}, "t="),
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_name(content, place, value):
    def filled(given):
        if isinstance(given, dict):
            return {key: filled(one) for key, one in given.items()}
        return [filled(one) for one in given] if isinstance(given, list) else given or value

    content = filled(content)
    content["donor_weights"] = [value] if "donor_weights" in content else None
    with pytest.raises(ValueError, match=f"(?s){place}.*finite"):
        Recipe.load(content)


def test_an_unknown_space_is_named():
    with pytest.raises(ValueError, match="space='heads' is unknown; choose from latents, weights"):
        lm.Recipe(**PAIR, space="heads")

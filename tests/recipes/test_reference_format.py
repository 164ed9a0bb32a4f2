"""Files that name adapters and a method are read as recipes of ours, or refused by key."""

import pytest
from pydantic import ValidationError

from lm_merge.recipes import AdapterRecipe, Recipe
from lm_merge.recipes.reference_format import read_reference

TWO = {"adapters": ["sums", "differences"]}
SCALAR = {
    **TWO,
    "method": "weighted",
    "merge_mode": "common",
    "method_params": {"lambda": 0.6},
    "transforms": [{"name": "identity", "params": {}}],
}
PER_LAYER = {
    **SCALAR,
    "method": "weighted_delta",
    "lambda_policy": {"type": "per_layer", "default": 0.5, "overrides": {0: 0.75, 11: 0.25}},
}
TIES = {**TWO, "method": "ties", "merge_mode": "strict", "method_params": {"k": 20, "lambda": 1.5}}
BAYES = {
    **TWO,
    "method": "weighted_delta",
    "method_params": {"lambda": 0.5},
    "split": "validation",
    "eval_subset": {"enabled": True, "per_task": {"sums": {"max_samples": 50}}},
    "search": {"type": "bayes", "budget": 10, "space": {"lambda": {"type": "float"}}},
}


def converted(content) -> AdapterRecipe:
    return read_reference(content, "tiny-instruct").recipe


def test_the_four_kinds_of_files():
    scalar = converted(SCALAR)
    assert (scalar.operator, scalar.coefficients, scalar.keys) == (
        "factor_mean",
        (0.6, 0.4),
        "common",
    )
    assert scalar.transforms == ("identity",)
    rules = converted(PER_LAYER).coefficients
    assert [(one.pattern, one.value) for one in rules] == [
        (r"^\D*\.0\.", (0.75, 0.25)),
        (r"^\D*\.11\.", (0.25, 0.75)),
        (None, (0.5, 0.5)),
    ]
    ties = converted(TIES)
    assert (ties.operator, ties.alpha, ties.keys) == ("ties", 1.5, "strict")
    assert ties.operator_args == {"density": 0.2, "trim": "global"}
    bayes = read_reference(BAYES, "tiny-instruct")
    assert bayes.recipe.coefficients == (0.5, 0.5)
    assert bayes.rest["search"]["budget"] == 10
    assert "analyses.adapter_search" in bayes.notes[0]


@pytest.mark.parametrize(
    ("method", "params", "fields"),
    [
        ("uniform", {}, {"operator": "factor_mean", "alpha": 1.0}),
        ("task_vector", {}, {"operator": "linear", "alpha": 1.0}),
        ("uniform_scalar_delta", {"scale": 0.75}, {"coefficients": (0.75, 0.75)}),
        ("weighted_delta_n", {"task_coefficients": [1, 3]}, {"coefficients": (0.25, 0.75)}),
        ("dare", {}, {"operator": "dare_linear", "operator_args": {"density": 0.1, "seed": 42}}),
    ],
)
def test_every_method_has_its_name_here(method, params, fields):
    recipe = converted({**TWO, "method": method, "method_params": params})
    assert {key: getattr(recipe, key) for key in fields} == fields


def test_older_keys_give_the_same_recipe_and_a_note():
    older = read_reference({**TWO, "method": "weighted", "lambda": 0.6}, "tiny-instruct")
    assert older.recipe == converted({key: SCALAR[key] for key in SCALAR if key != "transforms"})
    assert older.notes == ("lambda is an older key: read as method_params.lambda",)
    grid = read_reference({**TIES, "grid": {"k": [10, 20]}}, "tiny-instruct")
    assert grid.rest["search"] == {"type": "grid", "grid": {"k": [10, 20]}}
    assert grid.notes[0] == "grid is an older key: read as search.grid"
    params = read_reference({**TWO, "method": "ties", "params": {"k": 10}}, "tiny-instruct")
    assert params.recipe.operator_args["density"] == 0.1


def test_a_file_with_the_base_added_is_a_recipe_like_any_other():
    assert Recipe.load({**TIES, "host": "tiny-instruct"}) == converted(TIES)
    with pytest.raises(ValueError, match="host is missing: this format names .* no base model"):
        Recipe.load(TIES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mehtod_params": {}}, "mehtod_params: unknown in this format; choose from adapters"),
        ({"method": "wieghted"}, "method='wieghted' is unknown; choose from uniform"),
        ({"method_params": {"k": 3}}, "k: unknown to method 'weighted', which takes lambda"),
        ({"method_params": {}}, "lambda=None is no number"),
        ({"merge_mode": "union"}, "merge_mode='union': choose from common, strict"),
        ({"adapters": ["a", "b", "c"]}, "takes 2 adapters, not 3"),
        ({"lambda_policy": {"type": "by_layer"}}, "give type scalar with value"),
        ({"transforms": ["trim"]}, "is no list of {name, params}"),
        ({"grid": {"k": [1]}, "search": {"grid": {"k": [2]}}}, "both given and differ"),
    ],
)
def test_what_cannot_be_read_is_named(change, message):
    with pytest.raises((ValueError, ValidationError), match=message):
        converted({**SCALAR, **change})

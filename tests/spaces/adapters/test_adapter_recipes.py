"""A recipe of space 'adapters' and the merge it describes are the same thing, in every form."""

import json
import math

import pytest
import torch
import yaml
from peft_adapters import KINDS, save_adapter, tiny_llama
from pydantic import ValidationError
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.coefficients.coefficient_file import CoefficientFile
from lm_merge.recipes import AdapterRecipe
from lm_merge.scoring.compositions import compositions

TOKENS = torch.arange(12).view(2, 6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A base and two adapters of it, in folders."""
    root = tmp_path_factory.mktemp("adapters")
    tiny_llama().save_pretrained(root / "base")
    for seed, kind in enumerate(("plain", "rslora")):
        save_adapter(tiny_llama(), root / kind, seed, **KINDS[kind])
    return root


@pytest.fixture(scope="module")
def host(root):
    return lm.load(root / "base")


def content(root, **fields):
    donors = [str(root / "plain"), str(root / "rslora")]
    return {"space": "adapters", "host": str(root / "base"), "donors": donors, **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"alpha": 0.6, "donor_weights": [3.0, 1.0]},
        {"coefficients": [0.7, -0.3]},
        {"coefficients": [{"filter": "mlp", "value": [0.7, 0.3]}, {"value": [[1, 0], [0, 1]]}]},
        {"operator": "ties", "operator_args": {"density": 0.2, "trim": "global", "keys": "common"}},
        {"operator": "dare_linear", "operator_args": {"density": 0.5, "seed": 3}},
        {"transforms": ["equal_norm", {"keep_random": {"density": 0.5, "seed": 1}}]},
    ],
)
def test_a_recipe_its_merge_and_its_saved_form_agree(fields, root, host, tmp_path):
    recipe = lm.Recipe.load(content(root, **fields))
    merge = lm.compose(recipe, loaded=[host])
    assert isinstance(merge, lm.AdapterMerge)
    again = lm.compose(merge.recipe.save(tmp_path / "r.yaml"), loaded=[host])
    assert again.recipe == merge.recipe
    assert again.coefficients == merge.coefficients
    assert torch.equal(again(TOKENS), merge(TOKENS))


def test_rows_by_module_are_what_a_changed_merge_is_saved_as(root, host):
    merge = lm.compose(content(root), loaded=[host])
    merge.coefficients = {key: (0.1, float(n)) for n, key in enumerate(merge.coefficients)}
    again = lm.compose(merge.recipe, loaded=[host])
    assert again.coefficients == merge.coefficients
    merge.alpha = (
        0.5 if len({sum(row) for row in merge.coefficients.values()}) == 1 else (0.5, None)
    )
    assert lm.compose(merge.recipe, loaded=[host]).alpha == 0.5


def test_alpha_scales_rows_that_differ_between_modules(root, host):
    rules = [{"filter": "mlp", "value": [0.75, 0.25]}, {"value": [0.5, 0.5]}]
    merge = lm.compose(content(root, coefficients=rules), loaded=[host])
    merge.alpha = 2.0
    assert set(merge.coefficients.values()) == {(1.5, 0.5), (1.0, 1.0)}


def test_a_coefficient_file_gives_the_rows_in_the_order_of_the_donors(root, host, tmp_path):
    groups = [{"name": "mlp", "filter": "mlp"}, {"name": "default"}]
    values = [[0.1, 0.9], [0.4, 0.6]]
    sources = [{"name": "rslora"}, {"name": "plain"}]
    file = tmp_path / "coefficients.json"
    file.write_text(json.dumps({"sources": sources, "groups": groups, "values": values}))
    merge = lm.compose(content(root, coefficients=str(file)), loaded=[host])
    assert merge.coefficients["model.layers.0.mlp.down_proj"] == (0.9, 0.1)
    assert merge.coefficients["model.layers.1.self_attn.q_proj"] == (0.6, 0.4)
    read = CoefficientFile.load(file)
    assert CoefficientFile.load(read.save(tmp_path / "again.json")) == read
    with pytest.raises(ValueError, match="the coefficient file is for rslora, plain, the recipe's"):
        read.rules(["plain", "other"])
    sources[0]["fingerprint"] = "another"
    file.write_text(json.dumps({"sources": sources, "groups": groups, "values": values}))
    with pytest.raises(ValueError, match="was made for other files of adapter 'rslora'"):
        lm.compose(content(root, coefficients=str(file)), loaded=[host])
    file.write_text(json.dumps({"sources": sources, "groups": groups, "values": values[:1]}))
    with pytest.raises(ValueError, match=r"values has 1 rows for 2 groups"):
        CoefficientFile.load(file)


def test_names_from_a_file_and_names_that_are_nearly_known(root, host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adapters.yaml").write_text(
        yaml.safe_dump({"first": str(root / "plain"), "second": {"place": str(root / "rslora")}})
    )
    recipe = content(root) | {"donors": ["first", "second"]}
    merge = lm.compose(recipe, loaded=[host])
    assert [one.name for one in merge.adapters] == ["first", "second"]
    assert torch.equal(merge(TOKENS), lm.compose(content(root), loaded=[host])(TOKENS))
    assert lm.compose(merge.recipe, loaded=[host]).recipe == merge.recipe
    with pytest.raises(
        OSError, match=r"'secnd' is no folder .*did you mean 'second'.*known are first"
    ):
        lm.compose(recipe | {"donors": ["secnd"]}, loaded=[host])
    with pytest.raises(OSError, match=r"did you mean 'sums'"):
        lm.compose(recipe | {"donors": ["sum"]}, loaded=[host])
    (tmp_path / "adapters.yaml").write_text("first: {plaice: x}\n")
    with pytest.raises(ValueError, match=r"file of adapters adapters.yaml: first: .*plaice"):
        lm.compose(recipe, loaded=[host])


def test_analyses_measure_a_merge_of_adapters_at_its_own_and_at_other_alphas(root, host):
    merges = compositions(lm.Recipe.load(content(root)), (2.0,), loaded=[host])
    assert list(merges.at) == [1.0, 2.0]
    for alpha, entered in merges.at.items():
        with entered() as model:
            inside = model(TOKENS)
        assert torch.equal(inside, lm.compose(content(root, alpha=alpha), loaded=[host])(TOKENS))
    alone = lm.load(root / "base", adapter=root / "plain")
    assert torch.equal(merges.donor(TOKENS), alone(TOKENS))
    rules = [{"filter": "mlp", "value": [1, 1]}, {"value": [0.5, 0.5]}]
    assert math.isnan(compositions(lm.Recipe.load(content(root, coefficients=rules))).own)


def test_a_merge_of_merges_is_the_sum_of_both(root, host, tmp_path):
    inner = lm.Recipe.load(content(root, coefficients=[0.5, 0.25])).save(tmp_path / "inner.yaml")
    outer = content(root, coefficients=[2.0, 1.0]) | {"donors": [str(inner), str(root / "plain")]}
    merge = lm.compose(outer, loaded=[host])
    expected = lm.compose(content(root, coefficients=[2.0, 0.5]), loaded=[host])
    assert_close(merge(TOKENS), expected(TOKENS))
    assert lm.compose(merge.recipe, loaded=[host]).recipe == merge.recipe


def test_a_merge_of_merges_that_cannot_be_is_refused(root, host, tmp_path):
    inner = tmp_path / "inner.yaml"
    outer = content(root) | {"donors": [str(inner)]}
    lm.Recipe.load(content(root, operator="ties")).save(inner)
    with pytest.raises(ValueError, match=r"inner.yaml' cannot be a donor .*full matrices"):
        lm.compose(outer, loaded=[host])
    lm.Recipe.load(outer).save(inner)
    with pytest.raises(ValueError, match=r"inner.yaml' contains itself"):
        lm.compose(outer, loaded=[host])
    lm.Recipe.load(content(root) | {"host": "tiny-instruct"}).save(inner)
    with pytest.raises(ValueError, match=r"adapters of 'tiny-instruct', .*both need the same base"):
        lm.compose(outer, loaded=[host])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"coefficients": [0.5, 0.5], "alpha": 1.0}, "both give the adapters' coefficients"),
        ({"coefficients": [0.5]}, "1 numbers for 2 donors"),
        ({"coefficients": [{"value": [0.5, 0.5], "fliter": "mlp"}]}, "an entry has keys"),
        ({"coefficients": [0.5, {"value": [1, 1]}]}, "mixes numbers and"),
        ({"coefficients": {"model.norm": [1]}}, "coefficients of 'model.norm': 1 numbers"),
        ({"coefficients": {"similarity": "table.csv", "tagret": "es"}}, "target.*tagret"),
        ({"donor_weights": {3: [1.0, 1.0]}}, "parts by block are for space 'latents'"),
        ({"operator_args": {"keys": "union"}, "keys": "strict"}, "keys is given twice"),
        ({"keys": "some"}, "'union', 'common' or 'strict'"),
        ({"layers": [3]}, "only space 'latents' takes this"),
        ({"donors": [{"model": "a", "dtype": "float16"}]}, "has a name and a revision only"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(fields, message):
    given = {"space": "adapters", "host": "a", "donors": ["b", "c"]}
    with pytest.raises(ValidationError, match=message):
        AdapterRecipe.model_validate({**given, **fields})


def test_coefficients_that_are_computed_first_name_the_way(root, host):
    with pytest.raises(ValueError, match=r"run the recipe with python -m analyses.adapters"):
        lm.compose(content(root, coefficients={"fit": {"objective": "distil"}}), loaded=[host])


def test_what_needs_no_model_is_refused_before_one_is_loaded():
    given = {"space": "adapters", "host": "not there", "donors": ["nor this"]}
    with pytest.raises(ValueError, match="unknown operator 'liner' of space 'adapters'"):
        lm.compose({**given, "operator": "liner"})
    with pytest.raises(ValueError, match="operator 'linear' takes no arguments"):
        lm.compose({**given, "operator_args": {"density": 0.5}})
    with pytest.raises(ValueError, match="unknown transform 'trimm'"):
        lm.compose({**given, "transforms": ["trimm"]})

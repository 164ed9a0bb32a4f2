"""Every experiment of the paper merges what the recipe says, or refuses; its tables can be printed."""

import inspect
from functools import cache
from typing import Any

import pandas as pd
import pytest

from analyses.comparison.config import ComparisonConfig
from analyses.curvature.config import CurvatureConfig
from analyses.layerwise.config import LayerwiseConfig
from analyses.paper.config import NAMES, PaperConfig
from analyses.paper.experiments import EXPERIMENTS
from analyses.running.command_line import analysis_of
from analyses.spaces.config import SpacesConfig
from lm_merge import Recipe
from lm_merge.recipes import LatentRecipe, ModelSource
from lm_merge.runs.summary import summary_rows

SIZE: dict[str, Any] = dict(
    n_questions=2,
    n_seeds=1,
    n_prompts=4,
    device="cpu",
    dtype="float32",
    max_new_tokens=99,
    batch_size=3,
)
UNUSUAL: dict[str, Any] = {
    "host": ModelSource(model="tiny-instruct", dtype="float32"),
    "donors": ("tiny-thinker", "tiny-coder"),
    "donor_weights": (0.9, 0.1),
    "layers": {3: 0.25, 5: 0.25},
    "positions": "last",
    "donor_stream": "coupled",
    "accept": ("rope", "norm_eps"),
}


def unusual(name: str) -> Recipe:
    """A recipe with no field at its default, as far as the experiment takes one."""
    if name == "curvature":  # along the way to one donor
        return Recipe(**UNUSUAL | {"donors": ("tiny-coder",), "donor_weights": (1.0,)})
    return Recipe(**UNUSUAL, operator="task_vector", base="tiny-instruct")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_configuration_keeps_what_the_experiment_claims(name: str) -> None:
    experiment, recipe = EXPERIMENTS[name], unusual(name)
    config = experiment.configure(PaperConfig(recipe=recipe, **SIZE))
    for field in {*LatentRecipe.model_fields} - {*experiment.chooses}:
        assert getattr(config.recipe, field) == getattr(recipe, field), field
    assert bool(experiment.chooses) == (name in ("layerwise", "curvature"))
    if "operator" in experiment.chooses and name != "curvature":
        assert "task_vector" in config.operators
    assert (config.device, config.dtype) == ("cpu", "float32")
    wanted = {"max_new_tokens": 99, "batch_size": 3}
    given = {key: getattr(config, key) for key in wanted if hasattr(config, key)}
    assert given
    assert given.items() <= wanted.items()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("comparison", {"layers": {3: 0.25, 5: 0.75}}, "blocks with an alpha each"),
        ("comparison", {"layers": (3,)}, "alpha is missing"),
        ("tokens", {"layers": (3,)}, "alpha is missing"),
        ("comparison", {"donor_weights": {3: (0.5, 0.5)}}, "every donor has one weight"),
        ("spaces", {"donor_weights": {3: (0.5, 0.5)}}, "every donor has one weight"),
        ("layerwise", {"donor_weights": {3: (0.5, 0.5)}}, "every donor has one weight"),
        ("curvature", {}, "one donor"),
        ("curvature", {"operator": "task_vector", "base": "tiny-instruct"}, "leaves the segment"),
    ],
)
def test_what_an_experiment_cannot_represent_is_refused(
    name: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EXPERIMENTS[name].configure(PaperConfig(recipe=Recipe(**UNUSUAL | change), **SIZE))


def test_lambda_reg_and_a_list_of_blocks_give_the_alpha() -> None:
    recipe = Recipe(
        host="tiny-instruct",
        donors=("tiny-thinker",),
        operator="regmean",
        layers=(3, 5),
        operator_args={"lambda_reg": 3.0},
    )

    def alphas(recipe: Recipe) -> set[float | None]:
        config = EXPERIMENTS["comparison"].configure(PaperConfig(recipe=recipe, **SIZE))
        systems = config.named_systems()
        assert systems[f"latents {recipe.operator}"] == recipe
        return {one.alpha for name, one in systems.items() if name.split()[0] == "weights"}

    assert alphas(recipe) == {0.25}
    plain = Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers=(5,), alpha=0.75)
    assert alphas(plain) == {0.75}


def test_the_experiments_are_those_that_the_options_name() -> None:
    assert tuple(EXPERIMENTS) == NAMES


PAIR: dict[str, Any] = {"host": "tiny-instruct", "donors": ("tiny-thinker",)}
LERP = {**PAIR, "operator": "lerp", "layers": {3: 0.5}}
CONFIGS = {
    "comparison": ComparisonConfig(recipe=LERP, n_per_category=1, seeds=(0,), operators=("lerp",)),
    "spaces": SpacesConfig(
        n_prompts=2,
        recipe={
            **{"host": "tiny-instruct", "base": "tiny-instruct", "operator": "task_vector"},
            **{"donors": ("tiny-thinker", "tiny-coder"), "donor_weights": (0.9, 0.1)},
            **{"positions": "last", "donor_stream": "coupled", "layers": {3: 0.5}},
        },
        operators=("task_vector",),
        alphas=(0.5,),
    ),
    "layerwise": LayerwiseConfig(
        recipe=LERP,
        **{"layers": (3,), "n_texts": 2, "n_prompts": 0, "operators": ("lerp",)},
        alphas=(0.5,),
        compare_with=(),
    ),
    "curvature": CurvatureConfig(
        recipe={**LERP, "layers": {7: 0.5}}, layers=(7,), n_texts=1, n_points=8, alphas=()
    ),
}


@cache
def tables_of(name: str) -> dict[str, pd.DataFrame]:
    return analysis_of(name).run(CONFIGS[name])


PRINTED = {
    "comparison": {"accuracy": "system", "win_rates": "opponent"},
    "spaces": {"direction": "direction"},
    "layerwise": {"layerwise_loss_answer": "operator", "layerwise_kl_host": "operator"},
    "curvature": {"curvature_medians": "k_g"},
}
FOUND = {
    "comparison": "accuracy over all categories",
    "spaces": "task_vector, midness: latents",
    "layerwise": "loss_answer: best",
    "curvature": "the bound holds on every token",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_tables_are_set_for_print_and_summed_up(name: str) -> None:
    experiment, tables = EXPERIMENTS[name], tables_of(name)
    printed = experiment.print_tables(tables)
    assert set(printed) == set(PRINTED[name])
    for key, column in PRINTED[name].items():
        assert isinstance(printed[key], pd.DataFrame)
        assert column in printed[key].columns
        assert len(printed[key])
    analysis = analysis_of(name)
    assert FOUND[name] in analysis.summary(tables, CONFIGS[name])
    findings = summary_rows(analysis.findings(tables, CONFIGS[name]))
    keys = str(inspect.getdoc(analysis.findings)).partition("Keys: ")[2]
    for key in {key for row in findings for key in row}:
        assert key in keys, f"{key} is not documented"
    assert all({"metric", "value", "n"} <= set(row) for row in findings)


@pytest.mark.slow
def test_all_spaces_are_measured_at_the_merged_positions() -> None:
    tables = tables_of("spaces")["similarity"]
    of_tokens = tables[tables.metric == "midness"]
    assert set(of_tokens.space) == {"latents", "weights"}
    assert set(of_tokens.n) == {2}  # the last token of each prompt


@pytest.mark.slow
def test_figures_of_similarity_and_of_spaces_have_names_of_their_own() -> None:
    recipe = Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers={3: 0.5})
    names = []
    for name in ("similarity", "spaces"):
        experiment = EXPERIMENTS[name]
        config = experiment.configure(PaperConfig(recipe=recipe, **SIZE))
        config = config.model_copy(
            update={"alphas": ()} | ({"operators": ("slerp",)} if name == "spaces" else {})
        )
        analysis = analysis_of(name)
        drawn = analysis.draw(analysis.run(config), config)
        names += [figure for figure, _, _ in drawn if figure not in experiment.not_drawn]
    assert len(set(names)) == len(names)
    assert "output_divergence_by_space" in names

"""Every experiment of the paper merges what the recipe says, or refuses; its tables can be printed."""

from typing import Any

import pandas as pd
import pytest

from analyses import comparison, curvature, layerwise, similarity, spaces
from analyses.experiments import EXPERIMENTS, Size
from lm_merge import Recipe
from lm_merge.recipes import ModelSource

SIZE = Size(
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
    assert set(experiment.keeps).isdisjoint(experiment.chooses)
    assert {*experiment.keeps, *experiment.chooses} == {*Recipe.model_fields} - {"data"}
    config = experiment.configure(recipe, SIZE)
    for field in experiment.keeps:
        if field == "space":
            continue  # latents, which the paper checks
        kept, wanted = getattr(config, field), getattr(recipe, field)
        if field == "layers":
            kept, wanted = tuple(kept), tuple(wanted)
        if (name, field) == ("comparison", "alpha"):
            wanted = 0.25  # of every block
        assert kept == wanted, field
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
        EXPERIMENTS[name].configure(Recipe(**UNUSUAL | change), SIZE)


def test_lambda_reg_and_a_list_of_blocks_give_the_alpha() -> None:
    recipe = Recipe(
        host="tiny-instruct",
        donors=("tiny-thinker",),
        operator="regmean",
        layers=(3, 5),
        operator_args={"lambda_reg": 3.0},
    )
    config = EXPERIMENTS["comparison"].configure(recipe, SIZE)
    assert (config.alpha, config.layers) == (0.25, (3, 5))
    plain = Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers=(5,), alpha=0.75)
    assert EXPERIMENTS["comparison"].configure(plain, SIZE).alpha == 0.75


RUNS = {
    "comparison": lambda: comparison.run(
        comparison.ComparisonConfig(n_per_category=1, seeds=(0,), operators=("lerp",))
    ),
    "spaces": lambda: spaces.run(
        spaces.SpacesConfig(
            n_prompts=2,
            operators=("task_vector",),
            base="tiny-instruct",
            donors=("tiny-thinker", "tiny-coder"),
            donor_weights=(0.9, 0.1),
            positions="last",
            donor_stream="coupled",
            alphas=(0.5,),
        )
    ),
    "layerwise": lambda: layerwise.run(
        layerwise.LayerwiseConfig(
            layers=(3,), n_texts=2, n_prompts=0, operators=("lerp",), alphas=(0.5,), beside=()
        )
    ),
    "curvature": lambda: curvature.run(
        curvature.CurvatureConfig(layers=(7,), n_texts=1, n_points=8, alphas=(0.5,))
    ),
}
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


@pytest.mark.parametrize("name", RUNS)
def test_tables_are_set_for_print_and_summed_up(name: str) -> None:
    experiment, tables = EXPERIMENTS[name], RUNS[name]()
    printed = experiment.print_tables(tables)
    assert set(printed) == set(PRINTED[name])
    for key, column in PRINTED[name].items():
        assert isinstance(printed[key], pd.DataFrame)
        assert column in printed[key].columns
        assert len(printed[key])
    assert FOUND[name] in " ".join(experiment.findings(tables))


def test_all_spaces_are_measured_at_the_merged_positions() -> None:
    tables = RUNS["spaces"]()["similarity"]
    of_tokens = tables[tables.metric == "midness"]
    assert set(of_tokens.space) == {"latents", "weights"}
    assert set(of_tokens.n) == {2}  # the last token of each prompt


def test_figures_of_similarity_and_of_spaces_have_names_of_their_own() -> None:
    recipe = Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers={3: 0.5})
    names = []
    for name in ("similarity", "spaces"):
        experiment = EXPERIMENTS[name]
        config = experiment.configure(recipe, SIZE)
        given = {"alphas": (0.5,)} | ({"operators": ("lerp",)} if name == "spaces" else {})
        config = config.model_copy(update=given)
        tables = {"similarity": similarity.run, "spaces": spaces.run}[name](config)
        names += [figure for figure, _, _ in experiment.draw(tables, config)]
    assert len(set(names)) == len(names)
    assert "output_divergence_by_space" in names

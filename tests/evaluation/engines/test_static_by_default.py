"""Whatever generates decodes on static caches without being asked, where that is the default: on a GPU.

Here the CPU is such a device.
"""

import asyncio

import pytest

import lm_merge as lm
from analyses.comparison import analysis as comparison
from analyses.comparison.config import ComparisonConfig
from lm_merge import cli
from lm_merge.evaluation import ask, question_set
from lm_merge.generation.static import decoding

RECIPE = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": [3], "alpha": 0.5}


@pytest.fixture
def paths(monkeypatch):
    """The path of each call of `generate` until now."""
    taken = list[decoding.PathTaken]()
    plain = decoding.StaticDecoding.generate

    def noted(self, *arguments):
        output = plain(self, *arguments)
        taken.append(self.last)
        return output

    monkeypatch.setattr(decoding.StaticDecoding, "generate", noted)
    monkeypatch.setattr(decoding, "is_default_on", lambda device: True)
    return taken


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    lm.Recipe(**RECIPE).save(path)
    return path


def assert_static(paths, n_calls: int) -> None:
    assert len(paths) >= n_calls
    assert all(path.static for path in paths), paths


def test_the_command(paths, recipe, capsys):
    cli.main(["generate", str(recipe), "12+34 = ?", "--max_new_tokens", "4"])
    assert capsys.readouterr().out
    assert_static(paths, 1)


@pytest.mark.slow
def test_evaluation(paths, recipe):
    merge = lm.compose(recipe)
    ensemble = lm.LogitEnsemble([merge.host, *merge.donors])
    for system in (merge, merge.host, ensemble):
        assert len(ask(system, question_set(1))) == 4
    assert_static(paths, 3)


@pytest.mark.slow
def test_the_comparison(paths):
    systems = {"host": "tiny-instruct", "merge": RECIPE}
    config = ComparisonConfig(systems=systems, n_per_category=1, seeds=(0,))
    assert set(comparison.run(config)["accuracy"].system) == {"host", "merge"}
    assert_static(paths, 2)


@pytest.mark.slow
def test_lm_evaluation_harness(paths, recipe):
    instances = pytest.importorskip("lm_eval.api.instance", reason="needs lm-merge[harness]")
    from lm_merge.evaluation.engines.harness_model import MergedLM

    settings = {"until": ["\n\n\n"], "max_gen_toks": 8, "do_sample": False}
    asked = [
        instances.Instance("generate_until", {}, (prompt, settings), index)
        for index, prompt in enumerate(("12+34 = ?", "What is the capital of Norway?"))
    ]
    assert len(MergedLM(recipe, batch_size=2).generate_until(asked, disable_tqdm=True)) == 2
    assert_static(paths, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("inspect_user")
def test_inspect(paths, recipe):
    models = pytest.importorskip("inspect_ai.model", reason="needs lm-merge[inspect]")

    async def replied() -> str:
        model = models.get_model(f"lm_merge/{recipe}", memoize=False)
        try:
            settings = models.GenerateConfig(temperature=0.0, max_tokens=8)
            return (await model.generate("12+34 = ?", config=settings)).completion
        finally:
            model.api.close()

    assert asyncio.run(replied())
    assert_static(paths, 1)

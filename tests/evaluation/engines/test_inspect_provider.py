"""Inspect AI runs tasks of its own on recipes, through the provider alone."""

from pathlib import Path
from typing import Any

import pytest

import lm_merge as lm

pytest.importorskip("inspect_ai", reason="needs lm-merge[inspect]")

import inspect_ai  # noqa: E402
from inspect_ai._util.error import PrerequisiteError  # noqa: E402
from inspect_ai.dataset import Sample  # noqa: E402
from inspect_ai.log import read_eval_log  # noqa: E402
from inspect_ai.model import GenerateConfig, get_model  # noqa: E402
from inspect_ai.scorer import includes  # noqa: E402
from inspect_ai.solver import generate  # noqa: E402

pytestmark = pytest.mark.usefixtures("inspect_user")
QUESTIONS = {
    "What is the capital of Norway?": "Oslo",
    "What is the capital of France?": "Paris",
    "What is the capital of Japan?": "Tokyo",
    "47+38 = ?": "85",
}


def run(model: str, tmp_path: Path, **arguments: Any) -> Any:
    """The log of four questions, read from its file as a viewer does."""
    task = inspect_ai.Task(
        dataset=[Sample(input=question, target=answer) for question, answer in QUESTIONS.items()],
        solver=generate(),
        scorer=includes(),
        config=GenerateConfig(temperature=0.0),
    )
    [log] = inspect_ai.eval(task, model=model, log_dir=str(tmp_path / "logs"), **arguments)
    return read_eval_log(log.location)


@pytest.fixture
def recipe(tmp_path) -> Path:
    merge = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": {3: 0.25}}
    return lm.Recipe.load(merge).save(tmp_path / "merge.yaml")


@pytest.mark.slow
def test_a_task_runs_on_a_recipe_and_its_log_opens(recipe, tmp_path):
    log = run(f"lm_merge/{recipe}", tmp_path)
    assert log.status == "success", log.error
    merge = lm.compose(recipe)
    expected = merge.generate(list(QUESTIONS), chat=True, max_new_tokens=64, do_sample=False)
    samples = sorted(log.samples, key=lambda sample: sample.id)
    assert [sample.output.completion for sample in samples] == expected
    right = [answer in text for answer, text in zip(QUESTIONS.values(), expected, strict=True)]
    assert 0 < sum(right) < len(right)  # else equal accuracies would say little
    assert log.results.scores[0].metrics["accuracy"].value == sum(right) / len(right)
    for sample, text in zip(samples, expected, strict=True):
        tokenizer = merge.host.tokenizer
        n_new = len(tokenizer.encode(text, add_special_tokens=False)) + 1
        n_prompt = merge.host.to_tokens(sample.input, chat=True).input_ids.shape[1]
        assert sample.output.stop_reason == "stop"
        usage = sample.output.usage
        assert (usage.input_tokens, usage.output_tokens) == (n_prompt, n_new)
        assert usage.total_tokens == n_prompt + n_new


@pytest.mark.slow
def test_a_logit_ensemble_runs(tmp_path):
    ensemble = {
        "space": "logits",
        "host": "tiny-instruct",
        "donors": ["tiny-thinker"],
        "alpha": 0.7,
    }
    recipe = lm.Recipe.load(ensemble).save(tmp_path / "ensemble.yaml")
    log = run(f"lm_merge/{recipe}", tmp_path)
    expected = lm.compose(recipe).generate(
        list(QUESTIONS), chat=True, max_new_tokens=64, do_sample=False
    )
    samples = sorted(log.samples, key=lambda sample: sample.id)
    assert [sample.output.completion for sample in samples] == expected


@pytest.mark.slow
def test_a_model_alone_runs_by_name_and_max_tokens_is_reported(tmp_path):
    log = run("lm_merge/tiny-instruct", tmp_path, max_tokens=1, limit=2)
    assert [sample.output.stop_reason for sample in log.samples] == ["max_tokens"] * 2
    assert [sample.output.usage.output_tokens for sample in log.samples] == [1, 1]


@pytest.mark.slow
def test_what_it_cannot_do_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model argument depth: unknown to lm_merge"):
        get_model("lm_merge/tiny-instruct", depth=3)
    with pytest.raises(
        PrerequisiteError, match=r"^model lm_merge/nope.yaml: nope.yaml: no such file"
    ):
        get_model("lm_merge/nope.yaml")  # told without a traceback
    log = run("lm_merge/tiny-instruct", tmp_path, num_choices=2, fail_on_error=False, limit=1)
    assert "does not support num_choices" in log.samples[0].error.message


def test_models_of_one_recipe_share_what_is_loaded(recipe):
    one, other = (get_model(f"lm_merge/{recipe}", memoize=False) for _ in range(2))
    assert one.api is not other.api
    assert one.api._served is other.api._served
    lm.Recipe.load({"host": "tiny-instruct", "donors": ["tiny-coder"], "layers": {3: 0.5}}).save(
        recipe
    )
    changed = get_model(f"lm_merge/{recipe}", memoize=False)
    assert changed.api._served is not one.api._served


def test_connections_follow_the_batch_size():
    model = get_model("lm_merge/tiny-instruct", batch_size=3)
    assert model.api.max_connections() == 6
    assert model.api.max_tokens() == 64  # the host's own setting
    model.api.close()

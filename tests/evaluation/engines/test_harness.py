"""lm-evaluation-harness: its own adapter's scores at alpha 0, the merge's own logits elsewhere."""

import json
from functools import partial
from typing import Any

import pytest
import torch
import yaml
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.evaluation import ask, question_set
from lm_merge.evaluation.engines import harness

pytest.importorskip("lm_eval", reason="needs lm-merge[harness]")

import lm_eval  # noqa: E402
from harness_tasks import CHOICE, QUESTIONS, TASKS  # noqa: E402
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.api.registry import get_model  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from lm_merge.evaluation.engines.harness_model import MergedLM  # noqa: E402

RECIPE = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "operator": "slerp", "layers": [3]}


@pytest.fixture(scope="module", autouse=True)
def _registered():
    harness.register()
    harness.register()  # a second time is no harm


def evaluate(model: Any, tasks: Any = TASKS, **arguments: Any) -> dict[str, Any]:
    """Results and per-sample answers, without what differs from run to run."""
    found: Any = lm_eval.simple_evaluate(
        model=model,
        tasks=[dict(task) for task in tasks],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        **arguments,
    )
    samples = {
        name: [(s["doc_id"], s["resps"]) for s in rows] for name, rows in found["samples"].items()
    }
    return {"results": found["results"], "samples": samples}


@pytest.mark.slow
@pytest.mark.parametrize("chat", [False, True])
def test_alpha_0_gives_the_scores_of_the_harness_own_adapter(tiny_instruct, chat):
    own = HFLM(pretrained=tiny_instruct.native, tokenizer=tiny_instruct.tokenizer, batch_size=3)
    expected = evaluate(own, apply_chat_template=chat)
    merged = MergedLM({**RECIPE, "alpha": 0.0}, batch_size=3)
    assert evaluate(merged, apply_chat_template=chat) == expected
    answers = {reply for _, [[reply]] in expected["samples"]["tiny_generate"]}
    assert len(answers) > 1  # the comparison is of something


def requests(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, each, index) for index, each in enumerate(arguments)]


PAIRS = [(question, " " + choice) for question, choices, _ in QUESTIONS for choice in choices]


def score_alone(merge: lm.LatentMerge, context: str, continuation: str) -> float:
    """Log-likelihood of one pair by the merge itself, token by token on its key-value cache."""
    tokenizer, native = merge.host.tokenizer, merge.host.native
    assert native is not None
    whole = tokenizer.encode(context + continuation)
    n_context = len(tokenizer.encode(context))
    total = 0.0
    with merge.hooks(), torch.no_grad():
        step = native(torch.tensor([whole[:n_context]]), use_cache=True)  # the prompt
        for token in whole[n_context:]:
            total += float(step.logits[0, -1].log_softmax(-1)[token])
            cache = step.past_key_values
            step = native(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
    return total


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("positions", ["all", "last"])
def test_loglikelihood_is_that_of_stepwise_merging(positions, batch_size):
    merge = lm.compose({**RECIPE, "alpha": 0.6, "positions": positions})
    scored = MergedLM(merge, batch_size=batch_size).loglikelihood(
        requests("loglikelihood", *PAIRS), disable_tqdm=True
    )
    expected = torch.tensor([score_alone(merge, *pair) for pair in PAIRS])
    assert_close(torch.tensor([value for value, _ in scored]), expected, atol=1e-3, rtol=1e-4)
    with merge.hooks():  # without knowing where contexts end, "last" would score another thing
        plain = HFLM(pretrained=merge.host.native, tokenizer=merge.host.tokenizer)
        naive = plain.loglikelihood(requests("loglikelihood", *PAIRS), disable_tqdm=True)
    gap = (torch.tensor([value for value, _ in naive]) - expected).abs().max()
    assert (gap > 0.01) == (positions == "last")


@pytest.mark.slow
@pytest.mark.parametrize("space", ["weights", "logits"])
def test_recipes_of_every_space_are_scored_and_speak(space):
    composed = lm.compose(
        {"space": space, "host": "tiny-instruct", "donors": ["tiny-coder"], "alpha": 0.4}
        | ({"operator": "lerp"} if space == "weights" else {}),
        dtype="float32",
    )
    engine = MergedLM(composed, batch_size=4)
    scored = engine.loglikelihood(requests("loglikelihood", *PAIRS), disable_tqdm=True)
    expected = []
    for context, continuation in PAIRS:
        whole = torch.tensor([composed.host.tokenizer.encode(context + continuation)])
        n_context = len(composed.host.tokenizer.encode(context))
        with torch.no_grad():
            log_probs = composed(whole)[0].log_softmax(-1)
        chosen = log_probs[:-1].gather(1, whole[0, 1:, None])
        expected.append(float(chosen[n_context - 1 :].sum()))
    assert_close(torch.tensor([value for value, _ in scored]), torch.tensor(expected))
    prompts = [question for question, _, _ in QUESTIONS]
    settings = {"until": ["\n\n\n"], "max_gen_toks": 64, "do_sample": False}
    texts = engine.generate_until(
        requests("generate_until", *((prompt, settings) for prompt in prompts)), disable_tqdm=True
    )
    assert texts == composed.generate(prompts, max_new_tokens=64, do_sample=False)


@pytest.mark.slow
def test_generate_until_gives_the_text_of_merge_generate():
    merge = lm.compose({**RECIPE, "alpha": 0.5, "positions": "last"})
    prompts = [question for question, _, _ in QUESTIONS]
    settings = {"until": ["\n\n\n"], "max_gen_toks": 64, "do_sample": False}
    texts = MergedLM(merge, batch_size=5).generate_until(
        requests("generate_until", *((prompt, settings) for prompt in prompts)), disable_tqdm=True
    )
    assert texts == merge.generate(prompts, max_new_tokens=64, do_sample=False)


@pytest.mark.slow
def test_a_model_by_name_and_its_hooks_leave_no_trace(tiny_instruct):
    tokens = tiny_instruct.to_tokens("47+38 = ?").input_ids
    before = tiny_instruct(tokens)
    merge = lm.LatentMerge(tiny_instruct, lm.load("tiny-thinker"), layers=[3], alpha=1.0)
    merged = MergedLM(merge).loglikelihood(requests("loglikelihood", *PAIRS), disable_tqdm=True)
    alone = MergedLM("tiny-instruct").loglikelihood(
        requests("loglikelihood", *PAIRS), disable_tqdm=True
    )
    assert merged != alone
    assert torch.equal(tiny_instruct(tokens), before)
    assert tiny_instruct.merge_attached is None


@pytest.mark.slow
def test_the_command_line_runs_a_recipe_and_writes_results(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    ours_alone = partial(TaskManager, include_defaults=False)  # else it reads thousands of files
    monkeypatch.setattr("lm_eval.tasks.TaskManager", ours_alone)
    merge = lm.compose({**RECIPE, "alpha": 0.25})
    recipe = merge.recipe.save(tmp_path / "merge.yaml")
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "data.py").write_text("from harness_tasks import questions\n")
    (tasks / "tiny_choice.yaml").write_text(
        "task: tiny_choice\ncustom_dataset: !function data.questions\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: '{{question}}'\ndoc_to_target: label\n"
        "doc_to_choice: choices\nmetric_list: [{metric: acc}, {metric: acc_norm}]\n"
    )
    out = tmp_path / "out"
    harness.main(
        [
            *("--model", "lm_merge", "--model_args", f"recipe={recipe}", "--batch_size", "4"),
            *("--tasks", "tiny_choice", "--include_path", str(tasks), "--output_path", str(out)),
        ]
    )
    assert "tiny_choice" in capsys.readouterr().out
    [written] = out.rglob("results_*.json")
    content = json.loads(written.read_text())
    direct = evaluate(MergedLM(merge), [CHOICE])["results"]["tiny_choice"]
    assert content["results"]["tiny_choice"]["acc,none"] == direct["acc,none"]
    assert content["config"]["recipe"]["layers"] == {"3": 0.25}
    assert content["config"]["model_name"] == merge.name


@pytest.mark.slow
def test_the_bundled_questions_are_a_task_and_score_as_our_own_asking():
    few = {"n_per_category": 3}
    manager = TaskManager(include_defaults=False, include_path=str(harness.TASKS), metadata=few)
    merge = lm.compose({**RECIPE, "alpha": 0.5})
    found: Any = lm_eval.simple_evaluate(
        model=MergedLM(merge, batch_size=8),
        tasks=["lm_merge_questions"],
        task_manager=manager,
        apply_chat_template=True,
        bootstrap_iters=0,
    )
    ours = [answer.correct for answer in ask(merge, question_set(3))]
    assert found["results"]["lm_merge_questions"]["exact_match,none"] == sum(ours) / len(ours)
    assert 0 < sum(ours) < len(ours) == 12


def test_our_tasks_are_there_unless_others_are_named():
    words = ["--model", "lm_merge", "--tasks", "lm_merge_questions"]
    assert harness.with_our_tasks(words) == [*words, "--include_path", str(harness.TASKS)]
    for own in (["--include_path=mine", "--tasks", "x"], ["--help"], []):
        assert harness.with_our_tasks(own) == own
    assert (harness.TASKS / "lm_merge_questions.yaml").is_file()


@pytest.mark.parametrize("text", [None, "host: tiny-instruct\ndonor: x\n"])
def test_a_recipe_that_is_not_there_or_wrong_ends_in_one_line(tmp_path, capsys, text):
    recipe = tmp_path / "merge.yaml"
    if text:
        recipe.write_text(text)
    with pytest.raises(SystemExit) as end:
        harness.main(["--model", "lm_merge", "--model_args", f"dtype=float32,recipe={recipe}"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert ("'donor'" if text else "merge.yaml") in said


def test_the_command_takes_a_mergekit_recipe_and_a_device_among_its_model_args(tmp_path):
    recipe = tmp_path / "m.yaml"
    models = [
        {"model": one, "parameters": {"weight": 0.5}} for one in ("tiny-instruct", "tiny-thinker")
    ]
    recipe.write_text(yaml.safe_dump({"merge_method": "linear", "models": models}))
    given, harness_options = f"recipe={recipe},device=cpu", {"device": "cuda:0", "batch_size": 2}
    model = MergedLM.create_from_arg_string(given, harness_options)
    assert model.composed.host.device == torch.device("cpu")
    assert model.get_model_info()["recipe"]["operator"] == "linear"


def test_what_cannot_be_served_is_refused():
    assert get_model("lm_merge") is MergedLM
    with pytest.raises(ValueError, match="model_args peft, pretrained: unknown to lm_merge"):
        MergedLM("tiny-instruct", pretrained="x", peft="y")
    with pytest.raises(ValueError, match="unknown operator 'slrp'"):
        MergedLM({**RECIPE, "operator": "slrp", "alpha": 0.5})

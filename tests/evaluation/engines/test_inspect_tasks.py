"""JudgeBench and the pairwise task in Inspect AI give what the project's own judging gives."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import lm_merge as lm
from lm_merge.evaluation import ask, question_set
from lm_merge.evaluation.judgebench import load_pairs, read_judged, score_outputs
from lm_merge.evaluation.judgebench.judging import judge_pairs
from lm_merge.evaluation.judges import GameJudgment
from lm_merge.evaluation.judges.prompt import GO_ON, JudgePrompt
from lm_merge.evaluation.judges.verdict import read_verdict

pytest.importorskip("inspect_ai", reason="needs lm-merge[inspect]")

import inspect_ai  # noqa: E402
from inspect_ai.log import read_eval_log  # noqa: E402
from inspect_ai.model import ModelOutput, ModelUsage, get_model  # noqa: E402

from lm_merge.evaluation.engines.inspect_judging import pairwise_values  # noqa: E402
from lm_merge.evaluation.engines.inspect_tasks import (  # noqa: E402
    judgebench,
    pairwise,
    questions,
    write_judged,
)

pytestmark = pytest.mark.usefixtures("inspect_user")
PAIRS = Path(__file__).parents[1] / "judgebench" / "pairs.jsonl"
ANSWER = re.compile(r"--- answer of assistant \w \w+ ---\n(.*?)\n--- end of answer", re.DOTALL)


def opinion(asked: str) -> str:
    """A judge by rule: the longer answer wins; it favours A where they differ by little."""
    first, second = ANSWER.findall(asked)
    return "[[A>B]]" if len(first) + 3 > len(second) else "My verdict: [[B>>A]]"


def stub_reply(messages: list[dict[str, str]]) -> str:
    """Says nothing of use at first where the question has an even length."""
    asked = next(one["content"] for one in messages if one["role"] == "user")
    if messages[-1]["content"] != GO_ON and len(asked.split("\n")[1]) % 2 == 0:
        return "Let me think about it."
    return opinion(asked)


class StubJudge:
    """The same rule for the project's own runner."""

    name = "stub"
    settings: dict[str, Any] = {}

    def judge_games(self, games):
        for index, game in enumerate(games):
            asked = JudgePrompt().messages(game)[-1]["content"]
            yield index, GameJudgment(read_verdict(opinion(asked)).decision)


def stub_model() -> Any:
    def answer(messages, tools, tool_choice, config):
        assert config.temperature == 0
        turns = [{"role": one.role, "content": one.text} for one in messages]
        said = ModelOutput.from_content("stub", stub_reply(turns))
        said.usage = ModelUsage(input_tokens=3, output_tokens=2, total_tokens=5)  # else fetched
        return said

    return get_model("mockllm/model", custom_outputs=answer, memoize=False)


def log_of(task: Any, model: Any, tmp_path: Path, **arguments: Any) -> Any:
    [log] = inspect_ai.eval(task, model=model, log_dir=str(tmp_path / "logs"), **arguments)
    log = read_eval_log(log.location)
    assert log.status == "success", log.error
    return log


@pytest.mark.slow
def test_the_bundled_questions_score_as_our_own_asking(tmp_path):
    log = log_of(questions(n_per_category=3), "lm_merge/tiny-thinker", tmp_path, max_tokens=40)
    ours = [answer.correct for answer in ask(lm.load("tiny-thinker"), question_set(3))]
    by_category = {name: one.value for name, one in log.results.scores[0].metrics.items()}
    assert by_category["Overall"] == pytest.approx(sum(ours) / len(ours))
    assert by_category["Math"] == 1  # answers stand behind a thought
    assert 0 < sum(ours) < len(ours) == 12


@pytest.mark.slow
def test_judgebench_gives_the_official_accuracy(tmp_path):
    log = log_of(judgebench(str(PAIRS)), stub_model(), tmp_path)
    expected = {
        one.pair_id: [judgment.decision for judgment in one.judgments]
        for one in judge_pairs(load_pairs(PAIRS), StubJudge(), tmp_path / "own.jsonl")
    }
    written = write_judged(log, tmp_path / "from_log.jsonl")
    judged = read_judged(written)
    assert {one.pair_id: [g.decision for g in one.judgments] for one in judged} == expected
    official = score_outputs(tmp_path / "own.jsonl")
    assert score_outputs(written) == pytest.approx(official, nan_ok=True)
    assert 0 < official["Overall"] < 100  # else equal accuracies would say little
    metrics = {
        name: one.value for score in log.results.scores for name, one in score.metrics.items()
    }
    for category, percent in official.items():
        if category in metrics:
            assert 100 * metrics[category] == pytest.approx(percent)
    assert 100 * metrics["Overall"] == pytest.approx(official["Overall"])
    replies = {one.judgments[0].judgment["n_replies"] for one in judged}
    assert replies == {1, 2}  # some were asked to go on


@pytest.mark.slow
def test_judgebench_runs_on_a_recipe(tmp_path):
    merge = {"host": "tiny-instruct", "donors": ["tiny-thinker"], "layers": {3: 0.25}}
    recipe = lm.Recipe.load(merge).save(tmp_path / "merge.yaml")
    template = tmp_path / "short.txt"
    template.write_text("{{ question }} A: {{ answer_a }} B: {{ answer_b }}")
    task = judgebench(str(PAIRS), template=str(template))
    log = log_of(task, f"lm_merge/{recipe}", tmp_path, limit=2, max_tokens=8)
    judged = read_judged(write_judged(log, tmp_path / "judged.jsonl"))
    assert len(judged) == 2
    asked = [game.judgment for one in judged for game in one.judgments]
    assert all(one["n_prompt_tokens"] > 20 and one["n_completion_tokens"] <= 16 for one in asked)
    assert any(one["response"] for one in asked)


@pytest.mark.slow
def test_games_beyond_the_context_are_an_error_or_without_verdict(tmp_path):
    model = "lm_merge/tiny-instruct"  # its context is too short for the project's own prompt
    [log] = inspect_ai.eval(judgebench(str(PAIRS)), model=model, limit=1, log_dir=str(tmp_path))
    assert log.status == "error"
    assert (
        "leaves no room for a reply in the context of lm_merge/tiny-instruct" in log.error.message
    )
    log = log_of(judgebench(str(PAIRS), too_long="no_verdict"), model, tmp_path, limit=1)
    [judged] = read_judged(write_judged(log, tmp_path / "judged.jsonl"))
    assert [game.decision for game in judged.judgments] == [None, None]
    assert all("no room" in game.judgment["not_asked"] for game in judged.judgments)
    score = log.samples[0].scores["official"]
    assert score.answer == "no verdict, swapped no verdict"
    assert "no room" in score.explanation


@pytest.mark.slow
def test_pairwise_rates_are_those_of_the_judge_s_verdicts(tmp_path):
    questions = ["What is the capital of Norway?", "47+38 = ?", "12+9 = ?"]
    source = tmp_path / "questions.jsonl"
    source.write_text("".join(json.dumps({"question": one}) + "\n" for one in questions * 2))
    roles = {"opponent": "lm_merge/tiny-thinker", "judge": stub_model()}
    task = pairwise(str(source))
    log = log_of(task, "lm_merge/tiny-instruct", tmp_path, model_roles=roles, temperature=0.0)
    own, other = (
        lm.load(name).generate(questions, chat=True, max_new_tokens=64, do_sample=False)
        for name in ("tiny-instruct", "tiny-thinker")
    )
    metrics = {score.name: score.metrics["mean"].value for score in log.results.scores}
    verdicts = [
        (1 if len(a) + 3 > len(b) else -1, -1 if len(b) + 3 > len(a) else 1) if a != b else (0, 0)
        for a, b in zip(own, other, strict=True)
    ]
    n = len(questions)
    assert len(log.samples) == n  # each question counts once
    assert metrics["u"] == pytest.approx(sum(0.5 + (a + b) / 4 for a, b in verdicts) / n)
    assert metrics["loss"] == pytest.approx(sum(a == b == -1 for a, b in verdicts) / n)
    assert metrics["win"] + metrics["tie"] + metrics["loss"] == pytest.approx(1)


def test_pairwise_values_by_hand():
    assert pairwise_values(("A>B", "A>B")) == {
        **{"u": 1.0, "win": 1.0, "tie": 0.0, "loss": 0.0, "order_gap": 0.0, "none": 0.0}
    }
    assert pairwise_values(("A>B", "B>A")) == {
        **{"u": 0.5, "win": 0.0, "tie": 1.0, "loss": 0.0, "order_gap": 1.0, "none": 0.0}
    }
    assert pairwise_values((None, "B>A")) == {
        **{"u": 0.25, "win": 0.0, "tie": 1.0, "loss": 0.0, "order_gap": 0.5, "none": 0.5}
    }


def test_sources_that_cannot_serve_are_refused(tmp_path):
    source = tmp_path / "no_questions.jsonl"
    source.write_text('{"question": "x"}\n{"text": "y"}\n')
    with pytest.raises(ValueError, match="line 2: question: Field required"):
        pairwise(str(source))
    with pytest.raises(ValueError, match="system_template needs template"):
        judgebench(str(PAIRS), system_template="x")

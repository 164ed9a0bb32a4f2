"""Tasks for Inspect AI: the bundled questions, a judge on JudgeBench, two models compared by a judge.

    inspect eval lm_merge/questions --model lm_merge/RECIPE
    inspect eval lm_merge/judgebench -T source=FILE --model lm_merge/RECIPE
    inspect eval lm_merge/pairwise -T source=FILE --model lm_merge/RECIPE \\
        --model-role opponent=lm_merge/tiny-instruct --model-role judge=PROVIDER/MODEL
"""

from pathlib import Path
from typing import Any, Literal

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import get_model
from inspect_ai.scorer import (
    CORRECT,
    INCORRECT,
    Score,
    Scorer,
    Target,
    accuracy,
    grouped,
    mean,
    scorer,
    stderr,
)
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver
from pydantic import BaseModel, ConfigDict, Field

RATES = ("u", "win", "tie", "loss", "order_gap", "none")


@task
def questions(n_per_category: int = 50, seed: int = 0) -> Task:
    """The bundled held-out questions, for models with the bundled models' small vocabulary.

    n_per_category: in each of four categories; seed: of the draw. An answer is right if all after the
    last `</think>` equals the target.
    """
    from lm_merge.evaluation import question_set

    samples = [
        Sample(input=one.prompt, target=one.answer, metadata={"category": one.category})
        for one in question_set(n_per_category, seed=seed)
    ]
    return Task(
        dataset=MemoryDataset(samples, name="questions"), solver=generate(), scorer=final_answer()
    )


@scorer(metrics=[grouped(accuracy(), "category", all_label="Overall"), stderr()])
def final_answer() -> Scorer:
    """Whether the text after the last `</think>` is the target."""

    async def score(state: TaskState, target: Target) -> Score:
        from lm_merge.zoo.tasks import final_answer

        text = state.output.completion
        answer = final_answer(text)
        right = answer == target.text
        return Score(value=CORRECT if right else INCORRECT, answer=answer, explanation=text)

    return score


@task
def judgebench(
    source: str,
    split: str | None = None,
    template: str | None = None,
    system_template: str | None = None,
    drop_thoughts: bool = False,
    too_long: Literal["error", "no_verdict"] = "error",
) -> Task:
    """JudgeBench with the model as judge: both orders, official accuracy.

    source, split: as in `lm_merge.evaluation.judgebench.load_pairs`. template, system_template:
    files with the judge's prompt. drop_thoughts: read the verdict only after `</think>`. too_long: a
    game that leaves no room for a reply is an error, or counts as one without verdict. accuracy is
    the official one as a share; its standard error is clustered by question. "judged" in the
    scores' metadata is the pair in the official schema (`write_judged`).
    """
    from lm_merge.evaluation.engines.inspect_judging import load_prompt
    from lm_merge.evaluation.judgebench import load_pairs

    samples = [
        Sample(
            id=pair.pair_id,
            input=pair.question,
            target=pair.label,
            metadata={
                "pair": pair.model_dump(),
                "question": pair.question,
                "category": pair.category,
            },
        )
        for pair in load_pairs(source, split)  # pyright: ignore[reportArgumentType] # checked there
    ]
    return Task(
        dataset=MemoryDataset(samples, name="judgebench", location=str(source)),
        solver=_judge_pair(load_prompt(template, system_template), drop_thoughts, too_long),
        scorer=official(),
    )


def _judge_pair(
    prompt: Any, drop_thoughts: bool, too_long: Literal["error", "no_verdict"]
) -> Solver:
    from lm_merge.evaluation.engines.inspect_judging import (
        answer_text,
        judge_both_orders,
        replies_text,
    )
    from lm_merge.evaluation.judgebench import JudgedPair, Judgment, Pair

    @solver(name="judge_both_orders")
    def both_orders() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            judge, pair = get_model(), Pair.model_validate(state.metadata["pair"])
            judged = await judge_both_orders(judge, pair.game(), prompt, drop_thoughts, too_long)
            games = [Judgment(judgment=one.judgment, decision=one.decision) for one in judged]
            whole = JudgedPair.model_validate(
                {**pair.model_dump(), "judge_name": str(judge), "judgments": games}
            )
            state.metadata["judged"] = whole.model_dump()
            state.output.completion = replies_text(judged)
            state.metadata["verdicts"] = answer_text(judged)
            return state

        return solve

    return both_orders()


@scorer(
    metrics=[
        grouped(accuracy(), "category", all_label="Overall"),
        stderr(cluster="question"),
    ]
)
def official() -> Scorer:
    """Whether a pair counts as judged correctly in both orders together (Tan et al. 2024)."""

    async def score(state: TaskState, target: Target) -> Score:
        from lm_merge.evaluation.judgebench import JudgedPair, is_correct

        pair = JudgedPair.model_validate(state.metadata["judged"])
        return Score(
            value=CORRECT if is_correct(pair) else INCORRECT,
            answer=state.metadata["verdicts"],
            explanation=state.output.completion,
            metadata={"judged": pair.model_dump()},
        )

    return score


def write_judged(log: EvalLog, path: str | Path) -> Path:
    """The judgments of a `judgebench` log as JSONL in the official schema, for `score_outputs`."""
    from lm_merge.evaluation.judgebench import JudgedPair

    judged = [
        JudgedPair.model_validate(sample.scores["official"].metadata["judged"])
        for sample in log.samples or []
        if sample.scores and sample.scores["official"].metadata
    ]
    path = Path(path)
    path.write_text("".join(pair.model_dump_json() + "\n" for pair in judged), encoding="utf-8")
    return path


@task
def pairwise(
    source: str,
    template: str | None = None,
    system_template: str | None = None,
    drop_thoughts: bool = False,
    too_long: Literal["error", "no_verdict"] = "error",
) -> Task:
    """The model against the role "opponent", judged by the role "judge" in both orders.

    source: JSONL with a `question` in each line, such as JudgeBench's; each question counts once. u
    is the win rate with ties as halves; see `lm_merge.evaluation.pairwise`. Equal replies tie
    unasked. too_long: as in `judgebench`, of the judge's games. Standard errors are over questions;
    a judge's own accuracy shows what they are worth: run `judgebench` with it.
    """
    from lm_merge.evaluation.engines.inspect_judging import load_prompt

    questions = _questions(source)
    return Task(
        dataset=MemoryDataset(
            [Sample(input=question, id=place) for place, question in enumerate(questions)],
            name="pairwise",
            location=str(source),
        ),
        solver=[generate(), _opponent_answers()],
        scorer=judged_pairwise(load_prompt(template, system_template), drop_thoughts, too_long),
    )


@solver(name="opponent_answers")
def _opponent_answers() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        opponent = get_model(role="opponent", required=True)
        state.metadata["opponent"] = str(opponent)
        state.metadata["opponent_reply"] = (await opponent.generate(state.input)).completion
        return state

    return solve


@scorer(metrics={rate: [mean(), stderr()] for rate in RATES})
def judged_pairwise(
    prompt: Any, drop_thoughts: bool, too_long: Literal["error", "no_verdict"] = "error"
) -> Scorer:
    """Rates of the model's replies against the opponent's, from both orders."""

    async def score(state: TaskState, target: Target) -> Score:
        from lm_merge.evaluation.engines.inspect_judging import (
            answer_text,
            both_decisions,
            judge_both_orders,
            pairwise_values,
            replies_text,
        )
        from lm_merge.evaluation.judges import Game

        judge = get_model(role="judge", required=True)
        reply, other = state.output.completion, state.metadata["opponent_reply"]
        if reply == other:
            return Score(value=pairwise_values(("A=B", "A=B")), explanation="equal replies")
        game = Game(state.input_text, reply, other)
        judged = await judge_both_orders(judge, game, prompt, drop_thoughts, too_long)
        return Score(
            value=pairwise_values(both_decisions(judged)),
            answer=answer_text(judged),
            explanation=replies_text(judged),
            metadata={"judgments": [one.judgment for one in judged]},
        )

    return score


class _Asked(BaseModel):
    """A line of a file of questions; other keys are not read."""

    model_config = ConfigDict(extra="ignore", strict=True)

    question: str = Field(min_length=1)


def _questions(source: str) -> list[str]:
    from lm_merge.evaluation.json_lines import read_rows

    rows = read_rows(source, _Asked)
    if not rows:
        raise ValueError(f"source={source!r} contains no question; give one JSON object a line")
    return list(dict.fromkeys(row.question for row in rows))

"""Tables of a comparison: closed forms on small answer tables, a judge by its rules, marks, replies."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pytest
import torch

import lm_merge as lm
from lm_merge.evaluation.answers import AnswerKey
from lm_merge.evaluation.code_examples import Examples
from lm_merge.evaluation.comparison import (
    accuracy_by_system,
    judged_by_key,
    paired_answers,
    strengths,
    win_rates,
)
from lm_merge.evaluation.judgebench import Pair
from lm_merge.evaluation.judges import Game, GameJudgment
from lm_merge.evaluation.marking import (
    KeyedQuestion,
    Marker,
    bundled_questions,
    judgebench_questions,
)
from lm_merge.evaluation.pairing import judged_by
from lm_merge.evaluation.replies import batch_seed, reply_in_batches

NAN = np.nan


def answers(marks: dict[str, list[float]], seeds: int = 1, replies: str = "text") -> pd.DataFrame:
    """Answers of systems whose marks are given, question by question; two categories in turn."""
    return pd.DataFrame(
        {
            "system": system,
            "seed": seed,
            "category": ("Math", "Coding")[place % 2],
            "question": f"question {place}",
            "reply": f"{replies} of {system}",
            "right": mark,
            "n_new_tokens": 10 + place,
            "truncated": place == 0,
        }
        for system, of_system in marks.items()
        for seed in range(seeds)
        for place, mark in enumerate(of_system)
    )


def test_accuracy_by_category_and_overall():
    table = accuracy_by_system(answers({"a": [1, 0, 1, 1], "b": [0, 0, NAN, 1]}))
    value = table.set_index(["system", "category"])
    assert value.accuracy_frac.to_dict() == {
        ("a", "Math"): 1.0,
        ("a", "Coding"): 0.5,
        ("a", "Overall"): 0.75,
        ("b", "Math"): 0.0,
        ("b", "Coding"): 0.5,
        ("b", "Overall"): pytest.approx(1 / 3),
    }
    overall = value.loc[("a", "Overall")]
    # right answers to 3 of 4 questions: SE = sqrt(4/3 x (3 x .0625 + .5625)) / 4 = .25, so that the
    # effective sample size is .1875 / .0625 = 3, and t = 3.1824 with 3 degrees of freedom
    center, half = (0.75 + 3.1824**2 / 6), 3.1824 * (0.1875 / 3 + 3.1824**2 / 36) ** 0.5
    ends = [(center + side * half) / (1 + 3.1824**2 / 3) for side in (-1, 1)]
    assert (overall.low, overall.high) == pytest.approx(ends, abs=1e-4)
    assert overall.truncated_frac == 0.25
    assert value.loc[("b", "Overall")].n_unmarked == 1
    assert value.loc[("b", "Overall")].n == 3


def test_the_same_questions_under_more_seeds_make_no_interval_narrower():
    marks = {"a": [1.0, 0, 1, 1, 0, 1, 0, 1], "b": [0.0, 0, 1, 0, 0, 1, 1, 1]}
    once, thrice = (accuracy_by_system(answers(marks, seeds=n)).iloc[2] for n in (1, 3))
    assert (thrice.n, thrice.n_questions, thrice.n_seeds) == (24, 8, 3)
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    assert thrice.seed_sd_frac == 0
    rates = [win_rates(judged_by_key(answers(marks, seeds=n), [("a", "b")])) for n in (1, 3)]
    columns = ["low", "high", "difference_low", "difference_high", "mcnemar_p", "n_only_system"]
    pd.testing.assert_frame_equal(rates[0][columns], rates[1][columns])


def test_win_rates_by_the_answer_key():
    marks = {"a": [1.0, 1, 1, 0], "b": [1.0, 0, 0, 1]}
    row = (
        win_rates(judged_by_key(answers(marks), [("a", "b")])).set_index("category").loc["Overall"]
    )
    # accuracies 3/4 and 2/4: 1/2 + 1/8
    assert row.win_rate == pytest.approx(0.625)
    assert (row.win_frac, row.tie_frac, row.loss_frac) == (0.5, 0.25, 0.25)
    assert (row.n_only_system, row.n_only_opponent, row.mcnemar_p) == (2, 1, 1.0)
    assert row.accuracy_difference == 0.25
    assert row.order_gap == 0
    assert np.isnan(row.judge_accuracy_pct)


def test_pairs_that_cannot_be_set_against_each_other_are_refused():
    table = answers({"a": [1, 0], "b": [1, 0]})
    with pytest.raises(ValueError, match="system='c' is unknown; choose from a, b"):
        paired_answers(table, "a", "c")
    with pytest.raises(ValueError, match="did not answer the same questions"):
        paired_answers(table[:-1], "a", "b")


def test_strengths_are_ordered_by_accuracy_and_centred():
    rng = np.random.default_rng(0)
    marks = {
        name: (rng.random(200) < share).astype(float).tolist()
        for name, share in (("low", 0.2), ("high", 0.8), ("middle", 0.5))
    }
    judged = judged_by_key(answers(marks), [("low", "high"), ("low", "middle"), ("high", "middle")])
    table = strengths(judged, n_resamples=50)
    assert list(table.system) == ["high", "middle", "low"]
    assert table.strength.sum() == pytest.approx(0)
    assert (table.low < table.strength).all()
    assert (table.n_games == 400).all()


def with_upsets(n_upsets: int) -> pd.DataFrame:
    """Thirty questions, on each of which c beats b beats a, but for some the other way round."""
    beats = {("b", "a"): 1.0, ("c", "b"): 1.0, ("c", "a"): 1.0}
    return pd.DataFrame(
        {"system": system, "opponent": opponent, "question": str(place)}
        | dict.fromkeys(("first", "second"), -verdict if place < n_upsets else verdict)
        for (system, opponent), verdict in beats.items()
        for place in range(30)
    )


@pytest.mark.slow
def test_draws_without_strengths_are_left_out_and_counted():
    # a draw misses each of three upsets with (27/30)^30 = 4 %, a single one with (29/30)^30 = 36 %
    few, many = strengths(with_upsets(3)), strengths(with_upsets(1))
    for table, expected in ((few, 0.042), (many, 0.362)):
        assert (table.n_draws == 200).all()
        assert table.n_draws_left_out.nunique() == 1
        assert table.n_draws_left_out[0] / 200 == pytest.approx(expected, abs=0.07)
        assert np.isfinite(table.strength).all()
    assert (few.low < few.strength).all()
    assert many.low.isna().all()
    assert many.high.isna().all()
    with pytest.raises(ValueError, match="nothing outside the group"):
        strengths(with_upsets(0))


class LongerIsBetter:
    """Prefers the longer response, the first of two equal ones, and never decides on "mute"."""

    name, settings = "longer", {}

    def __init__(self) -> None:
        self.games: list[Game] = []

    def judge_games(self, games: Sequence[Game]) -> Iterator[tuple[int, GameJudgment]]:
        self.games += games
        for index in reversed(range(len(games))):
            a, b = games[index].response_a, games[index].response_b
            decision = "A>B" if len(a) >= len(b) else "B>A"
            yield index, GameJudgment(None if games[index].question == "mute" else decision)


def test_a_judges_verdicts_are_turned_to_the_systems_side():
    paired = pd.DataFrame(
        {
            "question": ["q", "q", "even", "mute", "same"],
            "reply": ["long answer", "short", "ab", "x", "equal"],
            "opponent_reply": ["short", "long answer", "cd", "xyz", "equal"],
        }
    )
    judge = LongerIsBetter()
    judged = judged_by(judge, paired)
    assert judged["first"].tolist()[:3] == [1, -1, 1]  # "ab" is read first: it wins
    assert judged["second"].tolist()[:3] == [1, -1, -1]
    assert np.isnan([judged["first"][3], judged["second"][3]]).all()
    assert (judged["first"][4], judged["second"][4]) == (0, 0)
    assert len(judge.games) == 8  # equal replies are not shown


def test_judgments_on_file_are_not_asked_for_again(tmp_path):
    replies = {"question": ["q", "r", "mute"], "reply": ["aa", "a", "b"]}
    paired = pd.DataFrame({**replies, "opponent_reply": ["b", "bb", "c"]})
    judge, out = LongerIsBetter(), tmp_path / "judgments" / "longer.jsonl"
    first = judged_by(judge, paired[:2], out)
    assert len(judge.games) == 4
    out.write_text(out.read_text() + '{"key": "torn')
    everything = judged_by(judge, paired, out)
    assert len(judge.games) == 6  # the third pair alone
    pd.testing.assert_frame_equal(everything[:2], first)
    assert np.isnan(everything["first"][2])
    again = judged_by(judge, paired, out)
    assert len(judge.games) == 6
    pd.testing.assert_frame_equal(again, everything)
    assert len(out.read_text().splitlines()) == 3


def test_marks_by_kind_of_key(isolated):
    with Marker() as marker:
        bundled = KeyedQuestion("12+34 = ?", "Math", "46")
        assert marker.mark("<think>2+4=6</think> 46", bundled) == 1
        assert marker.mark("46.", bundled) == 0
        letter = KeyedQuestion("q", "Knowledge", AnswerKey("letter", "C"))
        assert marker.mark("so CCCCC", letter) == 1
        assert marker.mark("so DDDDD", letter) == 0
        code = KeyedQuestion("q", "Coding", Examples("stdin", ("1\n",), ("2",)))
        assert np.isnan(marker.mark("print(int(input()) + 1)", code))
        assert np.isnan(marker.mark("46", KeyedQuestion("q", "Math", None)))
    with Marker(run_code=True) as runner:
        assert runner.mark("print(int(input()) + 1)", code) == 1
        assert runner.mark("print(1)", code) == 0


def labelled(question: str, source: str, right: str) -> Pair:
    return Pair(
        pair_id=f"{question}{right}",
        source=source,
        question=question,
        response_model="m",
        response_A=right,
        response_B="wrong",
        label="A>B",
    )


def test_judgebench_questions_are_distinct_and_take_the_first_key():
    asked = "Which one? Please duplicate that letter five times."
    pairs = [
        labelled(asked, "mmlu-pro-law", "no letter"),
        labelled(asked, "mmlu-pro-law", "BBBBB"),
        labelled("Write it.\nSample Input:\n1\nSample Output:\n2\n", "livecodebench", "code"),
        labelled("Free text?", "livebench-math", "yes"),
    ]
    keys = [question.key for question in judgebench_questions(pairs)]
    assert keys == [AnswerKey("letter", "B"), Examples("stdin", ("1\n",), ("2",)), None]


def test_replies_equal_plain_generation_and_count_tokens(tiny_instruct):
    prompts = [question.prompt for question in bundled_questions(2)]
    found = [one for batch in reply_in_batches(tiny_instruct, prompts, max_new_tokens=40, batch_size=3)
             for one in batch]  # fmt: skip
    texts = tiny_instruct.generate(prompts, chat=True, max_new_tokens=40, do_sample=False)
    assert [one.text for one in found] == texts
    assert not any(one.truncated for one in found)
    cut = next(reply_in_batches(tiny_instruct, prompts[:2], max_new_tokens=1))
    assert [(one.n_new_tokens, one.truncated) for one in cut] == [(1, True), (1, True)]
    for one, text in zip(found, texts, strict=True):
        n = len(tiny_instruct.tokenizer(text, add_special_tokens=False)["input_ids"])
        assert one.n_new_tokens == n + 1  # and the end of text


def test_sampling_depends_on_the_seed_alone(tiny_instruct, tiny_thinker):
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, layers=[3], alpha=0.5)
    prompts = ["What is the capital of Norway?", "47+38 = ?", "12+34 = ?"]

    def texts(seed: int, prompts: list[str]) -> list[str]:
        batches = reply_in_batches(
            merge, prompts, max_new_tokens=12, batch_size=1, temperature=3.0, seed=seed
        )
        return [reply.text for batch in batches for reply in batch]

    first = texts(0, prompts)
    torch.manual_seed(5)
    assert texts(0, prompts[1:]) == first[1:]
    assert texts(1, prompts) != first
    assert batch_seed(0, "a") != batch_seed(1, "a")
    with pytest.raises(ValueError, match=r"temperature=-1.0 is negative"):
        next(reply_in_batches(merge, prompts, max_new_tokens=1, temperature=-1.0))

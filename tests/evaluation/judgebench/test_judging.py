import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from lm_merge.evaluation import judgebench
from lm_merge.evaluation.judgebench import ReplayJudge, agreement_table, judge_pairs, judging_table
from lm_merge.evaluation.judges import (
    AnswerKeyJudge,
    Game,
    GameJudgment,
    flipped,
)

PAIRS = judgebench.load_pairs(Path(__file__).with_name("pairs.jsonl"))
RIGHT = {pair.right_response for pair in PAIRS}


class Scripted:
    """Decides by a function, counts games, and can fail after some."""

    def __init__(self, decide, name="scripted", fails_after=None, **settings):
        self.decide, self.name, self.settings = decide, name, settings
        self.fails_after, self.seen = fails_after, []

    def judge_games(self, games):
        for index in range(len(games) - 1, -1, -1):  # any order will do
            if self.fails_after is not None and len(self.seen) == self.fails_after:
                raise OSError("the endpoint is gone")
            self.seen.append(games[index])
            yield index, GameJudgment(self.decide(games[index]), {"response": "said"})


def is_right(_, response):
    return response in RIGHT


KEY = AnswerKeyJudge(is_right, "own")


def test_an_answer_key_is_always_right_and_costs_nothing(tmp_path):
    judged = list(judge_pairs(PAIRS, KEY, tmp_path / "out.jsonl"))
    assert judgebench.official_accuracy(judged) == 100.0
    assert judgebench.score_outputs(tmp_path / "out.jsonl")["Overall"] == 100.0


def test_the_answer_key_ties_and_abstains():
    decide = dict(
        AnswerKeyJudge(lambda _, r: {"x": True, "y": False}.get(r), "own").judge_games(
            [Game("q", "x", "x"), Game("q", "y", "y"), Game("q", "x", "?"), Game("q", "y", "x")]
        )
    )
    assert [decide[index].decision for index in range(4)] == ["A=B", "A=B", None, "B>A"]


def test_the_file_is_in_the_official_schema(tmp_path):
    list(judge_pairs(PAIRS, KEY, tmp_path / "out.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    data = json.loads(Path(__file__).with_name("pairs.jsonl").read_text().splitlines()[0])
    by_id = {line["pair_id"]: line for line in lines}
    assert list(lines[0]) == [*data, "judge_name", "judgments"]
    assert {key: by_id[data["pair_id"]][key] for key in data} == data
    assert [set(game) for game in lines[0]["judgments"]] == 2 * [{"judgment", "decision"}]
    first, second = (game["decision"] for game in lines[0]["judgments"])
    assert first == flipped(second) == lines[0]["label"]


@pytest.mark.parametrize("fails_after", range(0, 16, 3))
def test_a_run_that_failed_goes_on_where_it_ended(tmp_path, fails_after):
    out = tmp_path / "out.jsonl"
    first = Scripted(lambda game: "A>B", fails_after=fails_after)
    with pytest.raises(OSError, match="gone"):
        list(judge_pairs(PAIRS, first, out))
    second = Scripted(lambda game: "A>B")
    judged = list(judge_pairs(PAIRS, second, out))
    assert sorted(p.pair_id for p in judged) == sorted(p.pair_id for p in PAIRS)
    assert judgebench.read_judged(out) == judged
    assert len(second.seen) == 2 * (len(PAIRS) - fails_after // 2)
    assert list(judge_pairs(PAIRS, Scripted(lambda game: 1 / 0), out)) == judged  # nothing to do


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_a_line_that_was_cut_off_is_judged_anew(tmp_path, cut):
    out = tmp_path / "out.jsonl"
    list(judge_pairs(PAIRS, KEY, out))
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:5]) + lines[5][:cut])
    judged = list(judge_pairs(PAIRS, KEY, out))
    assert len(judged) == len(PAIRS)
    assert out.read_bytes().count(b"\n") == len(PAIRS)
    assert judgebench.score_outputs(out)["Overall"] == 100.0


def test_files_of_other_judges_or_pairs_are_left_alone(tmp_path):
    out = tmp_path / "out.jsonl"
    list(judge_pairs(PAIRS[:3], Scripted(lambda game: "A=B", temperature=0.0), out))
    before = out.read_bytes()
    with pytest.raises(ValueError, match=r"other settings \(temperature: 0.0 then, 1.0 now\)"):
        list(judge_pairs(PAIRS, Scripted(lambda game: "A=B", temperature=1.0), out))
    with pytest.raises(ValueError, match="not among the pairs to judge"):
        list(judge_pairs(PAIRS[1:], Scripted(lambda game: "A=B", temperature=0.0), out))
    changed = [PAIRS[0].model_copy(update={"question": "another"}), *PAIRS[1:]]
    with pytest.raises(ValueError, match="not among the pairs to judge"):
        list(judge_pairs(changed, Scripted(lambda game: "A=B", temperature=0.0), out))
    judgebench.judging.settings_file(out).unlink()
    with pytest.raises(ValueError, match="is gone"):
        list(judge_pairs(PAIRS, Scripted(lambda game: "A=B", temperature=0.0), out))
    assert out.read_bytes() == before


def test_two_runs_do_not_write_one_file(tmp_path):
    running = judge_pairs(PAIRS, KEY, tmp_path / "out.jsonl")
    next(running)
    with pytest.raises(BlockingIOError, match="being written by another run"):
        next(judge_pairs(PAIRS, KEY, tmp_path / "out.jsonl"))
    running.close()
    assert len(list(judge_pairs(PAIRS, KEY, tmp_path / "out.jsonl"))) == len(PAIRS)


def test_replay_gives_the_recorded_judgments_in_both_orders(tmp_path):
    out, copy = tmp_path / "out.jsonl", tmp_path / "copy.jsonl"
    list(judge_pairs(PAIRS, Scripted(lambda game: "A>B"), out))
    replay = ReplayJudge(out)
    list(judge_pairs(PAIRS, replay, copy))
    assert judgebench.score_outputs(copy) == pytest.approx(
        judgebench.score_outputs(out), nan_ok=True
    )
    assert replay.name == "scripted"
    with pytest.raises(ValueError, match="holds no judgment of 1 of 1 games"):
        list(replay.judge_games([Game("unheard", "a", "b")]))


def table_of(decide, tmp_path) -> "dict[tuple[str, str, str], float]":
    judged = list(judge_pairs(PAIRS, Scripted(decide), tmp_path / "out.jsonl"))
    table = judging_table(judged)
    assert table.set_index(["pairs", "category", "metric"]).index.is_unique
    return table.set_index(["pairs", "category", "metric"]).sort_index()


def test_a_judge_that_always_takes_the_first(tmp_path):
    values = table_of(lambda game: "A>B", tmp_path).value
    overall = values.loc["official", "Overall"]
    assert dict(overall) == {
        "accuracy": 0.0,
        "consistency": 0.0,
        "order_gap": 1.0,
        "slot_a_rate": 1.0,
        "none_rate": 0.0,
        "tie_rate": 0.0,
    }


def test_a_judge_that_knows_and_one_that_is_silent(tmp_path):
    by_key = table_of(lambda g: "A>B" if g.response_a in RIGHT else "B>A", tmp_path)
    assert by_key.value["official", "Overall", "accuracy"] == 1.0
    assert by_key.value["official", "Overall", "slot_a_rate"] == 0.5
    assert by_key.value["official", "Overall", "order_gap"] == 0.0
    (tmp_path / "silent").mkdir()
    silent = table_of(lambda game: None, tmp_path / "silent")
    assert silent.value["official", "Overall", "none_rate"] == 1.0
    assert np.isnan(silent.value["official", "Overall", "consistency"])
    assert silent.n["official", "Overall", "slot_a_rate"] == 0


def test_audited_accuracy_leaves_out_pairs_with_equal_answers_and_says_so(tmp_path):
    same = next(pair for pair in PAIRS if judgebench.same_final_answer(pair))

    def decide(game):  # right everywhere but there
        right = game.response_a in RIGHT
        return "A>B" if right ^ (game.question == same.question) else "B>A"

    table = table_of(decide, tmp_path)
    n = len(PAIRS)
    assert table.value["official", "Overall", "accuracy"] == pytest.approx((n - 1) / n)
    assert table.value["audited", "Overall", "accuracy"] == 1.0
    assert table.n["official", "Knowledge", "accuracy"] == 3
    assert table.n["audited", "Knowledge", "accuracy"] == 2
    assert table.n["official", "Overall", "tie_rate"] == 2 * n  # games
    assert table.worst_case["official", "Overall", "accuracy"] == pytest.approx(
        0.98 / n**0.5, rel=1e-3
    )


def test_agreement_is_that_of_counting_and_of_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    outputs = {}
    for name in ("one", "two"):
        decisions = iter(rng.choice(["A>B", "B>A", "A=B"], size=2 * len(PAIRS)))
        judge = Scripted(lambda game, d=decisions: str(next(d)), name)
        outputs[name] = list(judge_pairs(PAIRS, judge, tmp_path / f"{name}.jsonl"))
    rows = agreement_table(outputs).set_index(["judge", "other"])
    games = {
        name: [g.decision for pair in sorted(own, key=lambda p: p.pair_id) for g in pair.judgments]
        for name, own in outputs.items()
    }
    share = np.mean([a == b for a, b in zip(games["one"], games["two"], strict=True)])
    assert rows.value["one", "two"] == rows.value["two", "one"] == pytest.approx(share)
    assert rows.kappa["one", "two"] == pytest.approx(cohen_kappa_score(*games.values()))
    assert rows.value["one", "one"] == rows.kappa["label", "label"] == 1.0
    assert rows.low["one", "two"] <= share <= rows.high["one", "two"]


def test_agreement_counts_games_with_two_verdicts_and_pairs_that_all_judged(tmp_path):
    silent = list(judge_pairs(PAIRS, Scripted(lambda g: None), tmp_path / "silent.jsonl"))
    known = list(judge_pairs(PAIRS[:5], KEY, tmp_path / "key.jsonl"))
    rows = agreement_table({"silent": silent, "key": known}).set_index(["judge", "other"])
    assert rows.n["silent", "key"] == 0
    assert np.isnan(rows.value["silent", "key"])
    assert (rows.n["key", "label"], rows.value["key", "label"]) == (10, 1.0)
    with pytest.raises(ValueError, match="no pair was judged by all"):
        agreement_table({"key": known[:2], "silent": silent[:0]})


def test_settings_may_change_until_the_first_judgment(tmp_path):
    out = tmp_path / "out.jsonl"
    with pytest.raises(OSError, match="gone"):
        list(judge_pairs(PAIRS, Scripted(lambda _: "A>B", fails_after=0, max_new_tokens=9), out))
    judged = list(judge_pairs(PAIRS, Scripted(lambda _: "A>B", max_new_tokens=8), out))
    assert len(judged) == len(PAIRS)
    with pytest.raises(ValueError, match="max_new_tokens: 8 then, 9 now"):
        list(judge_pairs(PAIRS, Scripted(lambda _: "A>B", max_new_tokens=9), out))


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_settings_that_are_damaged_are_named(tmp_path, content):
    out = tmp_path / "out.jsonl"
    list(judge_pairs(PAIRS, KEY, out))
    judgebench.judging.settings_file(out).write_text(content)
    with pytest.raises(ValueError, match=r"out.jsonl.settings.json .*choose another out"):
        list(judge_pairs(PAIRS, KEY, out))

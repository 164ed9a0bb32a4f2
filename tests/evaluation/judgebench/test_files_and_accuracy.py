import json
import math
import os
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

import lm_merge as lm
from lm_merge.evaluation import judgebench
from lm_merge.evaluation.judgebench import JudgedPair, Pair, files

PAIRS = Path(__file__).with_name("pairs.jsonl")
DATA = os.environ.get("LM_MERGE_JUDGEBENCH_DATA")
published = pytest.mark.skipif(
    not DATA, reason="LM_MERGE_JUDGEBENCH_DATA names no folder with JudgeBench's official files"
)


def judged(pair: Pair, first: str | None, second: str | None) -> JudgedPair:
    """A pair with two decisions, each in the order that was judged."""
    games = [{"judgment": {"response": "…"}, "decision": decision} for decision in (first, second)]
    return JudgedPair(**pair.model_dump(), judge_name="own", judgments=games)


def write(path: Path, pairs: list[JudgedPair]) -> Path:
    path.write_text("".join(pair.model_dump_json() + "\n" for pair in pairs))
    return path


@pytest.fixture
def pairs() -> list[Pair]:
    return judgebench.load_pairs(PAIRS)


def test_pairs_are_read_with_category_and_sides(pairs):
    count = Counter(pair.category for pair in pairs)
    assert count == {"Knowledge": 3, "Reasoning": 2, "Math": 2, "Coding": 1}
    assert pairs[0].right_response.endswith("BBBBB")
    assert pairs[1].label == "B>A"
    assert pairs[1].right_response == pairs[1].response_B


# by the arithmetic of the protocol: right +1, wrong -1, tie or none 0, for each of two games
EXPECTED = {"right": 1, "wrong": -1, "A=B": 0, None: 0}


@pytest.mark.parametrize(("first", "second"), list(product(EXPECTED, repeat=2)))
@pytest.mark.parametrize("index", [0, 1])  # labels A>B and B>A
def test_official_accuracy_of_every_combination(pairs, index, first, second):
    pair = pairs[index]
    wrong = {"A>B": "B>A", "B>A": "A>B"}
    said = {"right": pair.label, "wrong": wrong[pair.label], "A=B": "A=B", None: None}
    swapped = {**said, "right": wrong[pair.label], "wrong": pair.label}
    given = judged(pair, said[first], swapped[second])
    score = EXPECTED[first] + EXPECTED[second]
    assert judgebench.pair_score(given) == score
    assert judgebench.official_accuracy([given]) == (100.0 if score > 0 else 0.0)


def test_accuracy_of_nothing_is_undefined():
    assert math.isnan(judgebench.official_accuracy([]))


def test_score_outputs_in_percent_by_category(pairs, tmp_path):
    # always "first is better" is inconsistent everywhere, except where the second game gave nothing
    outputs = [judged(pair, "A>B", "A>B") for pair in pairs if pair.category != "Coding"]
    right_first = [pair for pair in pairs if pair.label == "A>B" and pair.category == "Knowledge"]
    for pair in right_first[:1]:
        outputs[outputs.index(judged(pair, "A>B", "A>B"))] = judged(pair, "A>B", None)
    scores = lm.evaluation.judgebench.score_outputs(write(tmp_path / "out.jsonl", outputs))
    assert scores.pop("Overall") == pytest.approx(100 / 7)
    assert scores["Knowledge"] == pytest.approx(100 / 3)
    assert (scores["Reasoning"], scores["Math"]) == (0.0, 0.0)
    assert math.isnan(scores["Coding"])


def test_games_that_failed_and_decisions_in_other_words_are_no_verdict(pairs, tmp_path):
    line = json.loads(pairs[0].model_dump_json())
    line |= {"judge_name": "own", "judgments": [None, {"judgment": "[[A]]", "decision": "A"}]}
    path = tmp_path / "out.jsonl"
    path.write_text(json.dumps(line) + "\n")
    assert [j.decision for j in judgebench.read_judged(path)[0].judgments] == [None, None]
    assert judgebench.score_outputs(path)["Overall"] == 0.0


def test_mistakes_in_files_are_named(pairs, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(pairs[0].model_dump_json() + "\n" + '{"pair_id": "x"}\n')
    with pytest.raises(ValueError, match=r"pairs.jsonl, line 2: source: Field required"):
        judgebench.load_pairs(path)
    path.write_text(2 * (pairs[0].model_dump_json() + "\n"))
    with pytest.raises(ValueError, match="more than once"):
        judgebench.load_pairs(path)
    path.write_text(pairs[0].model_copy(update={"source": "chess"}).model_dump_json() + "\n")
    with pytest.raises(
        ValueError, match=r"source='chess' belongs to no category; choose from mmlu"
    ):
        judgebench.load_pairs(path)
    with pytest.raises(FileNotFoundError, match="ScalerLab/JudgeBench"):
        judgebench.load_pairs(tmp_path / "absent")
    with pytest.raises(ValueError, match="no pair of split 'claude'"):
        judgebench.load_pairs(PAIRS, "claude")


def test_a_folder_gives_its_pairs_and_passes_over_outputs(pairs, tmp_path):
    write(tmp_path / "outputs.jsonl", [judged(pair, "A>B", None) for pair in pairs])
    (tmp_path / "pairs.jsonl").write_bytes(PAIRS.read_bytes())
    assert judgebench.load_pairs(tmp_path) == pairs


def test_checksum_is_of_the_content(pairs, tmp_path):
    assert judgebench.checksum(pairs) == judgebench.checksum(pairs[::-1])
    changed = [pairs[0].model_copy(update={"label": "B>A"}), *pairs[1:]]
    assert judgebench.checksum(pairs) != judgebench.checksum(changed)


def test_other_content_on_the_hub_is_refused(pairs, tmp_path, monkeypatch):
    (tmp_path / "gpt.jsonl").write_bytes(PAIRS.read_bytes())
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(ValueError, match="not the published one"):
        judgebench.load_pairs(judgebench.HUB_NAME, "gpt")
    by_gpt = [pair.model_copy(update={"response_model": "gpt-4o-2024-05-13"}) for pair in pairs]
    (tmp_path / "gpt.jsonl").write_text("".join(p.model_dump_json() + "\n" for p in by_gpt))
    monkeypatch.setitem(files.CHECKSUMS, "gpt", judgebench.checksum(by_gpt))
    assert judgebench.load_pairs(judgebench.HUB_NAME, "gpt") == by_gpt


@published
def test_published_accuracy_of_a_reward_model():
    (path,) = Path(str(DATA)).glob("*gpt-4o*judge_model=Skywork_Skywork-Reward-Llama-3.1-8B.jsonl")
    expected = {
        "Knowledge": 59.09,
        "Reasoning": 64.29,
        "Math": 76.79,
        "Coding": 50.00,
        "Overall": 62.29,
    }
    scores = lm.evaluation.judgebench.score_outputs(path)
    assert {name: round(value, 2) for name, value in scores.items()} == expected


@published
def test_published_pairs_are_counted_audited_and_known_by_checksum():
    expected = {
        "gpt": ((154, 98, 56, 42), (1, 12, 11, 0)),
        "claude": ((154, 51, 34, 31), (0, 0, 0, 0)),
    }
    for split, (sizes, same) in expected.items():
        pairs = judgebench.load_pairs(str(DATA), split)
        assert judgebench.checksum(pairs) == files.CHECKSUMS[split]
        count = Counter(pair.category for pair in pairs)
        found = Counter(pair.category for pair in pairs if judgebench.same_final_answer(pair))
        assert tuple(count[name] for name in judgebench.CATEGORIES) == sizes
        assert tuple(found[name] for name in judgebench.CATEGORIES) == same

"""Tasks: disjoint splits, subsets that stay what they were, metrics, and recovery."""

import json
import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from lm_merge.evaluation.recovery import recovery
from lm_merge.evaluation.tasks import METRICS, SkillTask, Subset, own_tasks, subset_examples
from lm_merge.evaluation.tasks.metrics import word_edits
from lm_merge.evaluation.tasks.scores import TaskScore, score_replies
from lm_merge.evaluation.tasks.task import split_by


@pytest.fixture
def own(tmp_path):
    labels = {"labels": ["yes", "no", "maybe"]}
    rows = [
        {"prompt": f"{n}?", "answer": ("yes", "no")[n % 3 == 0], "check": labels, "category": "a"}
        for n in range(40)
    ]
    rows += [{"prompt": f"{n}+1", "answer": n + 1, "category": "b", "split": "dev"} for n in (1, 2)]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return own_tasks(path, {"a": "macro_f1"})


def test_no_question_is_in_both_splits_in_any_words():
    task = SkillTask("capitals")
    dev, test = task.examples("dev"), task.examples("test")
    countries = [{one.target for one in examples} for examples in (dev, test)]
    assert dev
    assert test
    assert not countries[0] & countries[1]
    assert SkillTask("sums").examples("dev")[0].target.startswith("<think>")


def test_categories_of_a_file_are_tasks_and_its_splits_count(own):
    assert list(own) == ["a", "b"]
    assert [one.label for one in own["b"].examples("dev")] == ["2", "3"]
    prompts = {split: {one.prompt for one in own["a"].examples(split)} for split in ("dev", "test")}
    assert len(prompts["dev"] | prompts["test"]) == 40
    assert all(split_by(one) == "dev" for one in prompts["dev"])
    with pytest.raises(ValueError, match="no example in split 'test'"):
        subset_examples(own["b"], "test", Subset())


def test_a_subset_is_drawn_once_and_kept(tmp_path, own):
    subset = Subset(n_max=6, stratified=True)
    drawn = subset_examples(own["a"], "dev", subset, tmp_path / "kept")
    assert drawn == subset_examples(own["a"], "dev", subset)
    share = sum(one.label == "no" for one in own["a"].examples("dev")) / len(
        own["a"].examples("dev")
    )
    assert abs(sum(one.label == "no" for one in drawn) - 6 * share) <= 1
    (file,) = (tmp_path / "kept").glob("*.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"indices": [0, 1]}))
    kept = subset_examples(own["a"], "dev", subset, tmp_path / "kept")
    assert kept == list(own["a"].examples("dev"))[:2]
    assert len({Subset(**one).tag("a") for one in ({}, {"n_max": 6}, {"n_max": 6, "seed": 1})}) == 3


def test_macro_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    label, given = rng.integers(0, 4, (2, 3, 50)).astype(float)
    ours = METRICS["macro_f1"].value(label, given, axis=-1)
    theirs = [f1_score(*pair, average="macro") for pair in zip(label, given, strict=True)]
    np.testing.assert_allclose(ours, theirs)


def test_a_reply_that_names_no_class_counts_against_the_right_one(own):
    examples = own["a"].examples("dev")
    right = score_replies(
        own["a"], examples, [one.label for one in examples], system="s", split="dev", tag="full"
    )
    none = score_replies(
        own["a"], examples, ["?"] * len(examples), system="s", split="dev", tag="full"
    )
    assert (right.value, none.value) == (1.0, 0.0)


def test_word_edits():
    assert word_edits("a cat sat", "the cat sat down") == (2, 4)
    assert word_edits("", "two words") == (2, 2)


def score(name, columns, metric="accuracy", **settings):
    arrays = tuple(np.asarray(one, dtype=float) for one in columns)
    return TaskScore(
        "t", name, METRICS[metric], arrays, {"split": "dev", "subset": "n8"} | settings
    )


BASE, EXPERT = [0, 0, 1, 0, 0, 0, 1, 0], [1, 1, 1, 1, 1, 0, 1, 1]


def test_the_base_recovers_0_and_the_expert_1():
    base, expert = score("base", [BASE]), score("expert", [EXPERT])
    assert recovery(base, base, expert).value == 0
    assert recovery(expert, base, expert).value == 1
    merged = score("merged", [[1, 0, 1, 1, 0, 0, 1, 0]])
    found = recovery(merged, base, expert, n_resamples=999)
    assert found.value == pytest.approx(2 / 5)  # 4 right of 2 and 7
    assert found.low < found.value < found.high
    assert (found.merged_gain.value, found.expert_gain.value, found.n) == (2 / 8, 5 / 8, 8)


def test_lower_word_error_rates_are_gains():
    words = [4] * 8
    base, expert = ([errors] * 8 for errors in (2, 1))
    scores = [
        score(name, [edits, words], "word_error_rate")
        for name, edits in (("merged", [1, 2] * 4), ("base", base), ("expert", expert))
    ]
    found = recovery(*scores)
    assert found.value == pytest.approx(0.5)
    assert found.expert_gain.value == 0.25


def test_recovery_is_undefined_with_the_reason():
    base, expert = score("base", [BASE]), score("expert", [EXPERT])
    found = recovery(expert, expert, base)
    assert math.isnan(found.value)
    assert found.reason == "the expert 'base' is no better than the base"
    slightly = score("expert", [[*BASE[:-1], 1]])
    found = recovery(slightly, base, slightly)
    assert (found.value, math.isnan(found.low)) == (1.0, True)
    assert "does not exclude 0" in str(found.reason)


def test_a_gain_of_every_example_excludes_0():
    base, expert = score("base", [[0] * 8]), score("expert", [[1] * 8])
    found = recovery(score("merged", [[1, 0] * 4]), base, expert, n_resamples=999)
    assert 0 < found.expert_gain.low < 1
    assert found.low < found.value == 0.5 < found.high


@pytest.mark.parametrize("other", [{"subset": "full"}, {"split": "test"}, {"decoding": "sampled"}])
def test_scores_of_other_examples_are_refused(other):
    base, expert = score("base", [BASE]), score("expert", [EXPERT], **other)
    with pytest.raises(ValueError, match=f"scored differently: {next(iter(other))}"):
        recovery(base, base, expert)

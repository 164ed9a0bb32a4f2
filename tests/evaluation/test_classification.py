"""Accuracy of classifiers by label, with intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest

from lm_merge.evaluation.classification import confusions, label_accuracy, labelled_texts

TRUE = ["a"] * 6 + ["b"] * 4
PREDICTED = ["a"] * 5 + ["b"] + ["b"] * 2 + ["a", "c"]


def test_accuracy_by_label_and_overall():
    table = label_accuracy(PREDICTED, TRUE).set_index("label")
    assert table.accuracy_frac.tolist() == [5 / 6, 1 / 2, 7 / 10]
    assert table.n.tolist() == [6, 4, 10]
    assert table.n_predicted.tolist() == [6, 3, 10]
    for label, n_right in (("a", 5), ("b", 2), ("Overall", 7)):
        wilson = binomtest(n_right, int(table.n[label])).proportion_ci(method="wilson")
        np.testing.assert_allclose([table.low[label], table.high[label]], wilson, atol=1e-9)


def test_texts_of_one_group_widen_the_interval():
    true = ["a"] * 100
    predicted = ["a"] * 50 + ["b"] * 50
    alone = label_accuracy(predicted, true).set_index("label").loc["Overall"]
    groups = [str(index // 25) for index in range(100)]
    grouped = label_accuracy(predicted, true, groups=groups).set_index("label").loc["Overall"]
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_confusions_count_every_text():
    table = confusions(PREDICTED, TRUE)
    assert table.n.sum() == len(TRUE)
    rows = {(row.true, row.predicted): row.n for row in table.itertuples()}
    assert rows == {("a", "a"): 5, ("a", "b"): 1, ("b", "a"): 1, ("b", "b"): 2, ("b", "c"): 1}


def test_labels_of_other_numbers_are_refused():
    with pytest.raises(ValueError, match="1 predicted labels for 2 texts"):
        label_accuracy(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="1 groups for 2 texts"):
        label_accuracy(["a", "a"], ["a", "b"], groups=["x"])


def test_no_text_has_no_accuracy():
    table = label_accuracy([], [])
    assert table.n.tolist() == [0]
    assert table[["accuracy_frac", "low", "high"]].isna().all(axis=None)


def test_labelled_texts_are_read_in_order(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "x", "label": "b", "id": 1}\n{"text": "y", "label": "a"}\n')
    assert [(row.text, row.label) for row in labelled_texts(path, ["a", "b"])] == [
        ("x", "b"),
        ("y", "a"),
    ]

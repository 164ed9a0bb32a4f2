"""Sources and weights from similarities: hand-computed rows, ties, Sinkhorn, files, recipes."""

import os

import numpy as np
import pytest
import yaml

import lm_merge as lm
from lm_merge.coefficients.selection import (
    SelectionRule,
    select,
    select_all,
    select_at_random,
    select_by_hand,
)
from lm_merge.coefficients.similarity_matrix import (
    SimilarityMatrix,
    read_similarity,
    write_similarity,
)
from lm_merge.coefficients.sinkhorn import sinkhorn
from lm_merge.coefficients.typology import ISO_639_3, feature_similarity, language_features
from lm_merge.recipes.locale_sources import locale_sources

NAMES = ("zh-CN", "zh-TW", "de-DE", "nl-NL", "fi-FI")
VALUES = np.array(
    [
        [1.0, 1.0, 0.4, 0.4, 0.2],
        [1.0, 1.0, 0.4, 0.4, 0.2],
        [0.4, 0.4, 1.0, 0.9, 0.5],
        [0.4, 0.4, 0.9, 1.0, 0.3],
        [0.2, 0.2, 0.5, 0.3, 1.0],
    ]
)
MATRIX = SimilarityMatrix(NAMES, VALUES)


def test_weights_of_a_row_by_hand():
    chosen = select(MATRIX, "fi-FI", NAMES, SelectionRule(n_sources=2))
    assert chosen.names == ("de-DE", "nl-NL")
    np.testing.assert_allclose(chosen.weights, [0.625, 0.375])  # .5 / .8 and .3 / .8
    soft = select(MATRIX, "fi-FI", NAMES, SelectionRule(n_sources=2, normalizer="softmax"))
    ratio = np.exp((0.5 - 0.3) / 0.05)
    np.testing.assert_allclose(soft.weights, [ratio / (1 + ratio), 1 / (1 + ratio)])


def test_the_same_language_is_left_out_and_ties_go_by_name():
    chosen = select(MATRIX, "zh-CN", NAMES, SelectionRule(n_sources=2))
    assert chosen.names == ("de-DE", "nl-NL")  # both .4, and zh-TW is Chinese, too
    assert chosen.weights == (0.5, 0.5)
    chosen = select(MATRIX, "zh-CN", NAMES, SelectionRule(n_sources=1, same_language=True))
    assert chosen.names == ("zh-TW",)


def test_an_included_target_has_similarity_1():
    rule = SelectionRule(n_sources=3, include_target=True)
    chosen = select(MATRIX, "de-DE", NAMES, rule)
    assert chosen.names == ("de-DE", "nl-NL", "fi-FI")
    np.testing.assert_allclose(chosen.weights, np.array([1.0, 0.9, 0.5]) / 2.4)
    assert "own model included" in chosen.label
    balanced = select(
        MATRIX,
        "de-DE",
        NAMES,
        SelectionRule(n_sources=2, include_target=True, normalizer="sinkhorn"),
    )
    assert balanced.names[0] == "de-DE"
    with pytest.raises(ValueError, match="include_target: 'de-DE' itself is not among"):
        select(MATRIX, "de-DE", ("nl-NL", "fi-FI"), rule)


@pytest.mark.parametrize("normalizer", ["row", "softmax", "sinkhorn"])
def test_equal_similarities_give_equal_weights_bit_for_bit(normalizer):
    names = tuple("abcdefgh")
    equal = SimilarityMatrix(names, np.full((8, 8), 0.7))
    rule = SelectionRule(n_sources=7, normalizer=normalizer)
    chosen = select(equal, "a", names, rule)
    assert chosen.names == tuple("bcdefgh")
    assert chosen.weights == chosen.equal().weights


def test_weights_sum_to_1_whatever_the_similarities():
    rng = np.random.default_rng(0)
    names = tuple(f"l{number}" for number in range(30))
    matrix = SimilarityMatrix(names, rng.random((30, 30)))
    for normalizer in ("row", "softmax", "sinkhorn"):
        for target in names:
            chosen = select(matrix, target, names, SelectionRule(normalizer=normalizer))
            assert abs(sum(chosen.weights) - 1) < 1e-12
            assert target not in chosen.names
    assert abs(sum(select_at_random("l3", names, 0).weights) - 1) < 1e-12


def test_sinkhorn_ends_with_columns_and_keeps_the_largest_of_each_row():
    values = np.array([[9.0, 2.0, 1.0], [1.0, 9.0, 3.0], [2.0, 2.0, 9.0]])
    one_step = sinkhorn(values, row_top_k=2, steps=1)
    # rows: (0, 2/3, 1/3), (1/4, 0, 3/4), (1/2, 1/2, 0); then columns are divided by 3/4, 7/6, 13/12
    expected = [[0, 4 / 7, 4 / 13], [1 / 3, 0, 9 / 13], [2 / 3, 3 / 7, 0]]
    np.testing.assert_allclose(one_step, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="negative"):
        sinkhorn(-values)


def test_what_cannot_be_chosen_is_refused_by_name():
    with pytest.raises(ValueError, match="'xx-XX' has no row"):
        select(MATRIX, "xx-XX", NAMES)
    with pytest.raises(ValueError, match="'yy-YY' has no row"):
        select(MATRIX, "de-DE", ("yy-YY", "nl-NL"), SelectionRule(n_sources=1))
    with pytest.raises(ValueError, match="has 2 available sources"):
        select(MATRIX, "de-DE", ("nl-NL", "fi-FI"), SelectionRule(n_sources=3))
    with pytest.raises(ValueError, match="row_top_k=1 leaves"):
        select(MATRIX, "de-DE", NAMES, SelectionRule(n_sources=2, row_top_k=1))
    negative = SimilarityMatrix(("a", "b", "c"), np.array([[1, -0.5, 0.2]] * 3))
    with pytest.raises(ValueError, match="softmax"):
        select(negative, "a", ("b", "c"), SelectionRule(n_sources=2))


def test_other_weights():
    assert select_all("de-DE", NAMES).names == tuple(sorted(set(NAMES) - {"de-DE"}))
    assert select_by_hand("de-DE", {"nl-NL": 3.0, "fi-FI": 1.0}).weights == (0.75, 0.25)
    with pytest.raises(ValueError, match="not all 0"):
        select_by_hand("de-DE", {"nl-NL": 0.0})
    rule = SelectionRule(n_sources=2)
    drawn = [select_at_random("de-DE", NAMES, seed, rule) for seed in (0, 0, 1, 2, 3)]
    assert (drawn[0].names, drawn[0].weights) == (drawn[1].names, drawn[1].weights)
    assert len({one.names for one in drawn}) > 1


def test_files_of_matrices(tmp_path):
    path = write_similarity(MATRIX, tmp_path / "named.csv")
    again = read_similarity(path)
    assert again.names == NAMES
    np.testing.assert_array_equal(again.values, VALUES)
    plain = tmp_path / "plain.csv"
    plain.write_text("a,b\n1,0.25\n0.5,1\n")
    assert read_similarity(plain).row("b") == {"a": 0.5, "b": 1.0}
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("name,a,b\nb,0.5,1\na,1,0.25\n")
    assert read_similarity(shuffled).row("b") == {"a": 0.5, "b": 1.0}
    (tmp_path / "holes.csv").write_text("a,b\n1,\n0.5,1\n")
    with pytest.raises(ValueError, match="similarity of a and b is nan"):
        read_similarity(tmp_path / "holes.csv")


def test_features_of_languages(tmp_path):
    data = np.zeros((2, 3, 1), dtype=np.float32)
    data[:, :, 0] = [[1, 1, 5], [1, 0, 7]]
    np.savez(
        tmp_path / "feature_predictions.npz",
        langs=np.array(["deu", "nld"]),
        feats=np.array(["S_SVO", "S_SOV", "P_X"]),
        data=data,
    )
    features = language_features(tmp_path, ["de-DE", "nld"])
    assert features.tolist() == [[1, 1], [1, 0]]
    cosines = feature_similarity(["de-DE", "nld"], features)
    assert cosines.row("de-DE") == pytest.approx({"de-DE": 1.0, "nld": 0.5**0.5})
    assert len(ISO_639_3) == 52
    assert all(len(locale) == 5 and len(code) == 3 for locale, code in ISO_639_3.items())
    with pytest.raises(ValueError, match="fi-FI: URIEL has no such language"):
        language_features(tmp_path, ["fi-FI"])


def test_sources_are_files_or_patterns(tmp_path):
    for name in ("de-DE", "nl-NL"):
        (tmp_path / f"m_{name}").mkdir()
    there, missing = locale_sources(str(tmp_path / "m_{locale}"), NAMES)
    assert set(there) == {"de-DE", "nl-NL"}
    assert missing == ()
    listed = {name: str(tmp_path / f"m_{name}") for name in ("de-DE", "fi-FI")}
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump(listed))
    with pytest.raises(ValueError, match="models of fi-FI are listed and not there"):
        locale_sources(tmp_path / "sources.yaml", NAMES)
    there, missing = locale_sources(tmp_path / "sources.yaml", NAMES, allow_missing=True)
    assert (set(there), missing) == ({"de-DE"}, ("fi-FI",))
    (tmp_path / "sources.csv").write_text(
        f"locale,model\nde-DE,{listed['de-DE']}\nnl-NL,org/name\n"
    )
    assert locale_sources(tmp_path / "sources.csv", NAMES)[0]["nl-NL"] == "org/name"


@pytest.mark.parametrize("space", ["weights", "logits"])
def test_recipes_choose_their_models(tmp_path, space):
    path = write_similarity(MATRIX, tmp_path / "similarity.csv")
    sources = {name: f"org/{name}" for name in NAMES}
    wanted = {"similarity": str(path), "target": "fi-FI", "n_sources": 3, "sources": sources}
    recipe = lm.Recipe.load({"space": space, "coefficients": wanted})
    assert (recipe.host, recipe.donors) == ("org/de-DE", ("org/nl-NL", "org/zh-CN"))
    assert recipe.alpha == pytest.approx(0.5)  # .5, .3 and .2 of 1
    assert recipe.donor_weights == pytest.approx((0.3, 0.2))
    assert lm.Recipe.load(recipe.save(tmp_path / "recipe.yaml")) == recipe
    by_name = {"similarity": str(path), "target": "fi-FI"}
    own = {"host": "models/nl-NL", "donors": ["models/de-DE"], "coefficients": by_name}
    recipe = lm.Recipe.load({"space": space, **own})
    assert recipe.host == "models/de-DE"
    assert recipe.alpha == pytest.approx(0.375)
    with pytest.raises(ValueError, match="host and coefficients by similarity both"):
        lm.Recipe.load({"space": space, "host": "x", "coefficients": wanted})


@pytest.mark.skipif("URIEL_COSINES" not in os.environ, reason="URIEL_COSINES names no file")
def test_published_examples_of_sinkhorn():
    """52 locales of MASSIVE, cosines of syntax_knn; its licence keeps the file out of the repository."""
    matrix = read_similarity(os.environ["URIEL_COSINES"])
    rule = SelectionRule(normalizer="sinkhorn", affine=True)
    first = {"af-ZA": "hy-AM 0.33", "sq-AL": "cy-GB 0.30", "sw-KE": "fa-IR 0.34"}
    second = {"af-ZA": "hu-HU 0.27", "sq-AL": "fi-FI 0.22", "sw-KE": "vi-VN 0.17"}
    for target, expected in first.items():
        chosen = select(matrix, target, matrix.names, rule)
        shown = [f"{n} {w:.2f}" for n, w in zip(chosen.names, chosen.weights, strict=True)]
        assert shown[:2] == [expected, second[target]]
    by_cosine = select(matrix, "fr-FR", matrix.names)
    assert by_cosine.names == ("pt-PT", "ca-ES", "es-ES", "it-IT", "el-GR")

"""Rules that give every key a row of coefficients."""

import pytest

from lm_merge.coefficients.groups import Rule, rows_by_key

DEPTHS = {
    "layers.0.self_attn.q_proj": 0.0,
    "layers.0.mlp.down_proj": 0.0,
    "layers.2.mlp.down_proj": 1.0,
    "lm_head": None,
}


def test_the_first_rule_that_fits_counts():
    rules = [
        Rule(((0.7, 0.3),), filter="mlp"),
        Rule(((1.0, 0.0),), pattern=r"q_proj$"),
        Rule(((0.5, 0.5),)),
    ]
    rows = rows_by_key(rules, DEPTHS, 2)
    assert list(rows.values()) == [(1.0, 0.0), (0.7, 0.3), (0.7, 0.3), (0.5, 0.5)]


def test_rows_are_spread_over_the_blocks():
    rule = Rule(((0.0, 1.0), (1.0, 0.0)))
    middle = rows_by_key([rule], {"layers.1.x": 0.25}, 2)["layers.1.x"]
    assert middle == (0.25, 0.75)
    assert rows_by_key([rule], DEPTHS, 2)["lm_head"] == (0.0, 1.0)  # outside the blocks: the first


def test_a_rule_that_fits_nothing_is_an_error():
    rules = [Rule(((0.7, 0.3),), filter="mpl"), Rule(((0.5, 0.5),))]
    with pytest.raises(ValueError, match=r"\{filter: mpl\} fits no key"):
        rows_by_key(rules, DEPTHS, 2)
    hidden = [
        Rule(((0.7, 0.3),), filter="mlp"),
        Rule(((0.1, 0.1),), filter="down"),
        Rule(((0.5, 0.5),)),
    ]
    with pytest.raises(ValueError, match=r"\{filter: down\} fits no key"):
        rows_by_key(hidden, DEPTHS, 2)


def test_a_key_without_a_rule_is_an_error_that_shows_the_entry_to_add():
    with pytest.raises(ValueError, match=r"no rule fits 'layers.0.self_attn.q_proj'; add .*value"):
        rows_by_key([Rule(((0.7, 0.3),), filter="mlp")], DEPTHS, 2)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (((0.5,),), "1 numbers for 2 sources"),
        (((0.5, float("inf")),), "not finite"),
        ((), "no value"),
    ],
)
def test_rows_are_checked(rows, match):
    with pytest.raises(ValueError, match=match):
        rows_by_key([Rule(rows)], DEPTHS, 2)

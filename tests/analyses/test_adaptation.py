"""The models of known truth under injections, and the tables that follow from rows of tokens."""

import numpy as np
import pandas as pd
import pytest

import lm_merge as lm
from analyses.adaptation import analysis
from analyses.adaptation.attention import attention_table
from analyses.adaptation.config import AdaptationConfig
from analyses.adaptation.tables import (
    contrasts_table,
    items_table,
    summary_table,
    survival_table,
)
from figures import plot_adaptation_forest
from lm_merge.runs.record import start_run


@pytest.fixture(scope="module")
def known_truth() -> tuple[AdaptationConfig, dict[str, pd.DataFrame]]:
    names = ("tiny-newest", "tiny-oldest")
    systems = {name: lm.load(name) for name in names}
    config = AdaptationConfig(systems={name: name for name in names}, n_items=12)
    return config, analysis.run(config, systems=systems)


def value(tables: dict[str, pd.DataFrame], system: str, condition: str, column: str) -> float:
    table = tables["summary"]
    row = table.loc[(table.system == system) & (table.condition == condition)]
    return float(row[column].iloc[0])


@pytest.mark.slow
def test_the_newest_binding_is_followed_and_controls_are_not(known_truth):
    _, tables = known_truth
    assert value(tables, "tiny-newest", "injection", "adapted_frac") == 1
    assert value(tables, "tiny-newest", "injection", "gap") <= 0.02
    for control in ("baseline", "repetition", "noise"):
        assert value(tables, "tiny-newest", control, "adapted_frac") <= 0.05


@pytest.mark.slow
def test_the_oldest_binding_stays_unless_it_is_replaced(known_truth):
    _, tables = known_truth
    for control in ("injection", "baseline", "repetition", "noise"):
        assert value(tables, "tiny-oldest", control, "adapted_frac") == 0
    assert value(tables, "tiny-oldest", "injection", "gap") == pytest.approx(1, abs=0.02)
    assert value(tables, "tiny-oldest", "flush", "adapted_frac") == 1
    assert value(tables, "tiny-oldest", "flush", "gap") == 0


@pytest.mark.slow
def test_a_model_without_updates_follows_a_context_only_from_the_start():
    """tiny-binder copies what it wrote: after a cycle of its text both contexts agree."""
    config = AdaptationConfig(
        systems={"tiny-binder": "tiny-binder"},
        conditions=("oracle", "flush"),
        n_items=3,
        states=False,
    )
    tables = analysis.run(config)
    answers = tables["answers"].groupby("condition")[["new_frac", "old_frac"]].mean()
    assert answers.loc["oracle"].tolist() == [1.0, 0.0]
    assert answers.loc["flush"].tolist() == [0.0, 1.0]
    assert value(tables, "tiny-binder", "oracle", "adapted_frac") == 1
    assert np.isnan(value(tables, "tiny-binder", "flush", "adapted_frac"))
    assert "flush, tau 8: undefined" in analysis.summary(tables)


@pytest.mark.slow
def test_an_injection_at_the_positions_of_another_text_inverts_the_gap(known_truth):
    """Appended, the model that follows is nearer to the oracle; at positions 0, 1, ... the other one."""
    _, tables = known_truth
    gaps = [value(tables, name, "legacy", "gap") for name in ("tiny-newest", "tiny-oldest")]
    assert gaps[0] > gaps[1]


@pytest.mark.slow
def test_baseline_rows_are_those_of_the_original_context(known_truth):
    config, tables = known_truth
    tokens = tables["tokens"]
    baseline = tokens.loc[tokens.condition == "baseline"]
    assert np.abs(baseline["kl0_nats"]).max() < 1e-5
    flush = tokens.loc[tokens.condition == "flush"]
    assert np.abs(flush["kl1_nats"]).max() < 1e-5
    assert len(analysis.draw(tables, config)) == 4
    assert analysis.summary(tables, config).count("\n") == 11
    assert set(analysis.findings(tables, config)[0]) == set(analysis.SUMMARY_KEYS)


def planted(adapts_at: int | None, n: int = 12) -> pd.DataFrame:
    """Rows of one text whose log ratio turns positive at a token and stays so."""
    follows = np.arange(n) >= (n if adapts_at is None else adapts_at)
    key = {"system": "s", "condition": "injection", "tau": 3, "item": f"at {adapts_at}"}
    kl1 = np.where(follows, 0.0, 2.0)
    return pd.DataFrame(
        {
            **key,
            "position": np.arange(n),
            "diagnostic": True,
            "log_ratio_nats": np.where(follows, 1.0, -1.0),
            "attribution": np.where(follows, "injected", "original"),
            "index": follows.astype(float),
            "kl0_nats": 1.0,
            "kl1_nats": kl1,
            "kl01_nats": 2.0,
            "js1_nats": kl1,
        }
    )


def test_planted_latencies_are_recovered():
    places = (0, 1, 5, 11, None)  # at 11 the end cuts the run of two off
    tokens = pd.concat([planted(place) for place in places])
    texts = tokens.drop_duplicates("item")[["system", "condition", "tau", "item"]]
    texts = texts.assign(cluster=texts["item"], ended=False)
    config = AdaptationConfig(horizon=12, taus=(3,))
    items = items_table(tokens, texts, config)
    assert items.latency_tokens.tolist() == [0, 1, 5, 12, 12]
    assert items.adapted.tolist() == [True, True, True, False, False]
    assert items.gap.tolist() == pytest.approx([0, 1 / 12, 5 / 12, 11 / 12, 1])
    (row,) = summary_table(items, config).to_dict("records")
    assert (row["adapted_frac"], row["censored"]) == (0.6, 2)
    assert row["restricted_mean_latency_tokens"] == pytest.approx((0 + 1 + 5 + 12 + 12) / 5)
    curve = survival_table(items, config)
    assert curve.survival.iloc[-1] == pytest.approx(0.4)
    with pytest.raises(ValueError, match="more than one row"):
        plot_adaptation_forest(pd.concat([summary_table(items, config)] * 2))


def test_attention_is_shown_next_to_that_of_a_repetition():
    """Item by item: more text takes attention whatever is in it."""
    key = {"system": "s", "tau": 8, "layer": 0, "part": "c1"}
    shares = {"injection": (0.5, 0.7), "repetition": (0.3, 0.4)}
    rows = [
        {**key, "condition": condition, "item": item, "share": share}
        for condition, of_items in shares.items()
        for item, share in enumerate(of_items)
    ]
    table = attention_table(pd.DataFrame(rows)).set_index("condition")
    assert table.loc["injection", ["share", "difference", "n"]].tolist() == pytest.approx(
        [0.6, 0.25, 2]
    )
    assert table.loc["injection", "low"] < 0.25 < table.loc["injection", "high"]
    assert table.loc["repetition", "difference"] == 0
    alone = attention_table(pd.DataFrame(rows[:2]))
    assert alone["share"].tolist() == pytest.approx([0.6])
    assert alone["difference"].isna().all()


@pytest.mark.slow
def test_shares_of_attention_sum_to_one_in_every_block():
    config = AdaptationConfig(
        systems={"newest": "tiny-newest"},
        conditions=("injection", "repetition"),
        n_items=2,
        attention=True,
        states=False,
    )
    table = analysis.run(config)["attention"]
    sums = table.groupby(["condition", "layer"])["share"].sum()
    assert sums.to_numpy() == pytest.approx(1, abs=1e-5)
    assert set(table["part"]) == {"first token", "c0", "c1", "text"}


def test_tokens_that_neither_context_expects_are_no_adaptation():
    """Both give it a tiny probability, of which one is the larger by chance."""
    tokens = planted(2).assign(attribution="neither")
    texts = tokens.drop_duplicates("item")[["system", "condition", "tau", "item"]]
    texts = texts.assign(cluster=texts["item"], ended=False)
    items = items_table(tokens, texts, AdaptationConfig(horizon=12, taus=(3,)))
    assert not items.adapted.iloc[0]


def test_conditions_without_any_defined_value_are_contrasted_as_undefined():
    tokens = pd.concat([planted(1), planted(5), planted(None)])
    texts = tokens.drop_duplicates("item")[["system", "condition", "tau", "item"]]
    config = AdaptationConfig(horizon=12, taus=(3,), contrasts=(("injection", "flush"),))
    texts = texts.assign(cluster=texts["item"], ended=False)
    injected = items_table(tokens, texts, config)
    flushed = injected.assign(condition="flush", gap=np.nan, latency_tokens=0)
    table = contrasts_table(pd.concat([injected, flushed]), config).set_index("metric")
    assert table.loc["latency_tokens", "difference"] == pytest.approx((1 + 5 + 12) / 3)
    assert table.loc["gap", "n"] == 0
    assert np.isnan(table.loc["gap", ["difference", "p_holm"]].astype(float)).all()
    assert pd.isna(table.loc["gap", "equivalent"])


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_equal_rows(tmp_path, monkeypatch):
    config = AdaptationConfig(
        systems={"oldest": "tiny-oldest"},
        n_items=4,
        batch_size=2,
        conditions=("injection", "flush"),
    )
    whole = analysis.run(config)
    measured, calls = analysis.measured, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(analysis, "measured", interrupted)
    with pytest.raises(KeyboardInterrupt), start_run("adaptation", config, root=tmp_path) as run:
        analysis.run(config, run)
    with start_run("adaptation", config, root=tmp_path) as run:
        again = analysis.run(config, run)
    assert len(calls) == 3
    pd.testing.assert_frame_equal(again["tokens"], whole["tokens"])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"conditions": ("inject",)}, "conditions=.*'inject'"),
        ({"taus": (0,)}, "taus=.0. lie below refeed=1"),
        ({"items": "mawps"}, "names no file"),
        ({"items": "pairs.txt"}, "file .jsonl"),
        ({"prompt_template": "no place"}, "prompt_template"),
    ],
)
def test_impossible_options_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        AdaptationConfig(**change)

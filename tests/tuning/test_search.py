"""Searches: spaces keep their values, strategies propose anew, and a stopped search goes on."""

import math

import numpy as np
import pytest
import toy_search
from pydantic import BaseModel, ConfigDict

from lm_merge.runs import search
from lm_merge.tuning.search.proposer import Observation, RecoveryProposer
from lm_merge.tuning.search.scores import SCORES, rank_key
from lm_merge.tuning.search.space import Parameter, SearchSpace
from lm_merge.tuning.search.strategies import STRATEGIES

MIXED = SearchSpace(
    {
        "operator": Parameter(choices=("linear", "ties")),
        "density": Parameter(low=0.1, high=1.0, log=True, when={"operator": ("ties",)}),
        "rank": Parameter(low=1, high=4, integer=True),
    }
)


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    values: dict[str, float | str]


def proposer(strategy="composite", space=toy_search.SPACE, **options):
    return RecoveryProposer(
        space,
        lambda values: Settings(values=values),
        lambda trial: tuple(float(row["recovery"]) for row in trial.summary),
        strategy=strategy,
        **{"n_start": 3} | options,
    )


def measured(config, record):
    values = np.array([list(config.values.values())])
    if values[0, 0] < 0.45:
        raise ArithmeticError("no merge there")
    record.save_summary([{"recovery": one} for one in toy_search.recoveries(values)[0]])
    return {}


def test_a_space_gives_values_and_takes_them_back():
    for row in np.random.default_rng(0).random((50, 3)):
        values = MIXED.values(row)
        point = MIXED.point(values)
        again = MIXED.values(point)
        assert (MIXED.point(again) == point).all()
        assert (MIXED.snapped(row[None])[0] == point).all()
        assert {**again, "density": 0} == {**values, "density": 0}
        assert again.get("density", 0) == pytest.approx(values.get("density", 0))
        assert ("density" in values) == (values["operator"] == "ties")
        assert values["rank"] in (1, 2, 3, 4)
    assert MIXED.point({"operator": "linear", "rank": 2, "density": 0.3}) is None
    assert MIXED.point({"operator": "ties", "rank": 2, "density": 2.0}) is None
    middle = MIXED.values([0.9, 0.5, 0.0])["density"]
    assert middle == pytest.approx(math.sqrt(0.1))  # the middle of a logarithm
    assert MIXED.features(np.array([[0.1, 0.5, 1.0]])).tolist() == [[1.0, 0.0, 0.5, 1.0]]


def test_a_grid_is_every_combination_once():
    grid = [MIXED.values(one) for one in MIXED.grid()]
    assert len(grid) == 4 + 5 * 4  # density counts with ties only; 5 values of it, 4 ranks
    assert len({tuple(one.items()) for one in grid}) == len(grid)


@pytest.mark.parametrize(
    "fields", [{}, {"low": 1}, {"low": 0, "high": 1, "log": True}, {"choices": (1,), "low": 0}]
)
def test_parameters_that_are_none_are_refused(fields):
    with pytest.raises(ValueError, match=r"give|starts above"):
        Parameter(**fields)


def test_scores_by_hand():
    rows = np.array([[0.5, 2.0], [-0.5, 1.0]])
    expected = {
        "worst": [0.5, -0.5],
        "mean": [1.25, 0.25],
        "geometric_mean": [1.0, -np.inf],
        "hypervolume": [1.0, 0.0],
        "l2_shortfall": [-math.sqrt(0.125), -math.sqrt(1.125)],
    }
    for name, score in SCORES.items():
        np.testing.assert_allclose(score(rows), expected[name])
    ranked = [(0.4, 0.4), (0.4, 0.9), (-0.1, 9.0)]
    assert max(ranked, key=lambda row: rank_key(row, SCORES["worst"])) == (0.4, 0.9)
    assert rank_key(ranked[2], SCORES["mean"], nonnegative=True)[0] == -math.inf


def trials_of(tmp_path, made, n_trials=6, folder="runs", **options):
    found = search("toy", made, measured, n_trials=n_trials, root=tmp_path / folder, **options)
    return [(one.config.values, one.outcome.status, one.summary) for one in found]


def test_a_stopped_search_goes_on_with_the_same_trials(tmp_path):
    whole = trials_of(tmp_path, proposer(), folder="whole")
    assert {status for _, status, _ in whole} == {"finished", "failed"}
    trials_of(tmp_path, proposer(), n_trials=4)
    again = trials_of(tmp_path, proposer())
    assert [(values, rows) for values, _, rows in again] == [(one, rows) for one, _, rows in whole]
    assert [status for _, status, _ in again[:4]].count("found") == 4 - sum(
        status == "failed" for _, status, _ in whole[:4]
    )


@pytest.mark.slow
def test_a_failed_trial_is_tried_twice_more_and_stays_out_of_the_model(tmp_path):
    made = proposer("random", seed=1)
    found = trials_of(tmp_path, made, n_trials=5, retries=2)
    n_failed = [status for _, status, _ in found].count("failed")
    assert n_failed > 0
    assert len(list((tmp_path / "runs").glob("*-toy-*"))) == 5 + 2 * n_failed
    assert [one is None for _, one in made.seen] == [status == "failed" for _, status, _ in found]
    history = made._history()
    assert len(history.points) == 5 - n_failed
    assert len(history.taken) == 5


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "optuna"])
def test_no_strategy_proposes_a_point_twice_and_all_end(strategy):
    made = proposer(strategy, MIXED, n_start=2)
    values = []
    while len(values) < 40:
        config = made.ask()
        if config is None:
            break
        values.append(config.values)
        made.seen.append((made.asked[-1], (float(len(values) % 3), 0.5)))
        if strategy != "grid" and len(values) == 6:
            break
    assert len({tuple(one.items()) for one in values}) == len(values)
    assert len(values) == {"grid": 24}.get(strategy, 6)


def test_trials_of_earlier_searches_are_known_and_not_computed_again(tmp_path):
    values = [{f"c{n}": place for n in range(4)} for place in (0.3, 0.4, 0.5)]
    points = np.array([list(one.values()) for one in values])
    warm = [
        Observation(one, tuple(map(float, row)))
        for one, row in zip(values, toy_search.recoveries(points), strict=True)
    ]
    made = proposer(warm=warm)
    found = trials_of(tmp_path, made, n_trials=1)
    assert len(made.seen) == 4
    assert found[0][0] not in values
    with pytest.raises(ValueError, match="no point of this space"):
        proposer(warm=[Observation({"c0": 0.5}, (0.0,))])


def test_a_search_ends_where_it_has_come_to_rest():
    made = proposer(patience=3)
    places = (0.1, 0.5, 0.51, 0.49, 0.5)
    scores = (0.0, 0.9, 0.8, 0.8, 0.8)
    made.asked = [np.full(4, place) for place in places]
    made.seen = [(point, (one, one)) for point, one in zip(made.asked, scores, strict=True)]
    assert made.ask() is None
    made.seen[-1] = np.full(4, 0.9), (0.8, 0.8)  # the last proposal is elsewhere
    assert made.ask() is not None


def test_optuna_proposes_points_of_the_space():
    pytest.importorskip("optuna")
    made = proposer("optuna", MIXED, n_start=1)
    for n in range(4):
        assert made.ask() is not None
        made.seen.append((made.asked[-1], (0.1 * n, 0.5)))
    again = proposer("optuna", MIXED, n_start=1)
    again.seen, again.asked = made.seen, list(made.asked)
    assert again.ask() == made.ask()


@pytest.mark.slow
def test_composite_halves_the_regret_of_a_process_on_the_worst():
    ours, theirs = (toy_search.median_regret(name, 12, range(8)) for name in ("composite", "gp"))
    assert ours <= theirs / 2


def test_conditions_that_lead_in_a_circle_are_refused():
    one, other = ({"low": 0, "high": 1, "when": {name: (1,)}} for name in "ba")
    with pytest.raises(ValueError, match=r"circle \(.*a -> b -> a|circle \(.*b -> a -> b"):
        SearchSpace({"a": Parameter(**one), "b": Parameter(**other)})
    with pytest.raises(ValueError, match=r"circle \(a -> a\)"):
        SearchSpace({"a": Parameter(low=0, high=1, when={"a": (1,)})})

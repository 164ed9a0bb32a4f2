"""Searches: equal in any order of completion, and after a kill."""

import pytest
import sweep_cells
from sweep_cells import Halving, Settings, traced
from test_dependent_cells import Shuffled

from lm_merge.runs import search


def run(tmp_path, folder="runs", proposer=None, function=sweep_cells.summed, **options):
    proposer = proposer or Halving(tmp_path)
    options = {"n_trials": 10, "root": tmp_path / folder} | options
    return proposer, search("height", proposer, function, **options)


def rows(trials):
    return [(trial.number, trial.config.alpha, trial.summary) for trial in trials]


def test_every_result_is_told_in_order_and_the_proposer_ends_the_search(tmp_path):
    seen = []
    proposer, trials = run(tmp_path, on_trial=seen.append)
    assert proposer.told == trials == seen
    assert [trial.number for trial in trials] == list(range(6))
    assert len({trial.config.alpha for trial in trials}) == 6
    assert {trial.outcome.status for trial in trials} == {"finished"}
    _, fewer = run(tmp_path, n_trials=3)
    assert rows(fewer) == rows(trials[:3])


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_the_order_in_which_trials_end_changes_nothing(tmp_path, at_once):
    _, in_turn = run(tmp_path, "in turn", at_once=at_once)
    for seed in range(3):
        executor = Shuffled(seed)
        _, shuffled = run(tmp_path, f"shuffled {seed}", at_once=at_once, executor=executor)
        assert rows(shuffled) == rows(in_turn)
        assert executor.most == at_once


def test_a_search_that_was_stopped_goes_on_with_the_same_trials(tmp_path):
    _, whole = run(tmp_path, "whole")

    class Stopped(Halving):
        def tell(self, trial):
            super().tell(trial)
            if trial.number == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, proposer=Stopped(tmp_path))
    proposer, trials = run(tmp_path)
    assert rows(trials) == rows(whole)
    assert [trial.outcome.status for trial in trials] == ["found"] * 4 + ["finished"] * 2
    assert len(proposer.told) == 6


def test_a_failed_trial_is_told_and_the_search_goes_on(tmp_path):
    class Listed:
        def __init__(self):
            self.left, self.told = [0.1, 0.5, 0.1, 0.9], []

        def ask(self):
            return Settings(alpha=self.left.pop(0), folder=tmp_path) if self.left else None

        def tell(self, trial):
            self.told.append(trial)

    function = sweep_cells.summed_but_for_one
    for at_once in (1, 4):
        proposer, trials = run(tmp_path, f"{at_once}", Listed(), function, at_once=at_once)
        statuses = [trial.outcome.status for trial in proposer.told]
        assert statuses == ["finished", "failed", "finished", "finished"]
        assert trials[1].summary == ()
        assert trials[0].summary == trials[2].summary  # proposed twice, computed once
    assert len(traced(tmp_path)[0.1]) == 2  # once in each of the two searches


def test_a_search_without_trials_or_without_findings_is_refused(tmp_path):
    with pytest.raises(ValueError, match="n_trials=0"):
        run(tmp_path, n_trials=0)
    with pytest.raises(ValueError, match="at_once=0"):
        run(tmp_path, at_once=0)
    with pytest.raises(FileNotFoundError, match="record.save_summary"):
        run(tmp_path, function=sweep_cells.computed)

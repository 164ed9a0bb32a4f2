"""Trials proposed one after another: a proposer gives configurations and is given their results.

    class Halving:                        # a proposer
        def ask(self): ...                # -> the next configuration, or None: enough
        def tell(self, trial): ...        # trial.config, trial.outcome, trial.summary

    trials = search("adapters", Halving(seed=0), run, n_trials=20, root=Path("runs"))

Each trial is a run with a record. A search that was killed goes on when it is started again with a
new proposer of the same settings: asked again, it proposes the same configurations, whose finished runs
are found, and so it comes to know what it knew. No state of a proposer is written anywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from lm_merge.runs.cells import Cell, CellFunction, CellOutcome, make_cell
from lm_merge.runs.executors import Executor, Flight, InTurn
from lm_merge.runs.summary import Value, read_summary


@dataclass(frozen=True)
class Trial:
    """A proposed configuration and what came of it.

    number: from 0, in the order of proposals. summary: the rows of the run's `summary.json`; empty for
    a trial that failed, which is reported to the proposer, too.
    """

    number: int
    config: BaseModel
    outcome: CellOutcome
    summary: tuple[dict[str, Value], ...]


class Proposer(Protocol):
    """Decides what to try next. Depends on its own settings and the trials reported to it alone."""

    def ask(self) -> BaseModel | None:
        """The next configuration; None ends the search."""
        ...

    def tell(self, trial: Trial) -> None:
        """Take the result of a trial; trials come in the order of their numbers."""
        ...


def search(
    analysis: str,
    proposer: Proposer,
    function: CellFunction,
    *,
    n_trials: int,
    at_once: int = 1,
    root: Path = Path("runs"),
    executor: Executor | None = None,
    retries: int = 0,
    fresh: bool = False,
    keep_bytes: int = 0,
    on_trial: Callable[[Trial], None] | None = None,
) -> list[Trial]:
    """Up to n_trials runs of `function(config, record)`, which saves a summary; trials in their order.

    at_once: proposal k is made when exactly the results of trials 0 to k - at_once are known, in turn
    and on Ray alike, so both give equal rows; 1 gives each proposal all results before it. A
    configuration that was proposed before is not computed again. Other arguments as in `sweep`.
    Raises ValueError for counts below 1, and FileNotFoundError where a trial saved no summary.
    """
    if n_trials < 1:
        raise ValueError(f"n_trials={n_trials}: give 1 or more")
    flight = Flight(executor or InTurn(), at_once)
    since = datetime.now(UTC) if fresh else None
    asked: list[Cell] = []
    outcomes: dict[str, CellOutcome] = {}
    trials: list[Trial] = []
    ended = False

    def ask() -> None:
        nonlocal ended
        config = None if ended or len(asked) == n_trials else proposer.ask()
        if config is None:
            ended = True
            return
        cell = make_cell(analysis, config, function, root, retries, since, keep_bytes)
        if all(cell.key != other.key for other in asked):
            flight.add(cell)
        asked.append(cell)

    for _ in range(at_once):
        ask()
    for done, outcome in flight.outcomes():
        outcomes[done.key] = outcome
        while len(trials) < len(asked) and asked[len(trials)].key in outcomes:
            cell = asked[len(trials)]
            trials.append(_trial(len(trials), cell, outcomes[cell.key]))
            proposer.tell(trials[-1])  # one result, then one proposal: the same in any executor
            if on_trial is not None:
                on_trial(trials[-1])
            ask()
    return trials


def _trial(number: int, cell: Cell, outcome: CellOutcome) -> Trial:
    if outcome.status == "failed":
        return Trial(number, cell.config, outcome, ())
    assert outcome.folder is not None
    return Trial(number, cell.config, outcome, tuple(read_summary(outcome.folder)))

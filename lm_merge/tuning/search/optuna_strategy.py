"""Proposals by Optuna, which gets all trials anew at each one, so that nothing of it is stored."""

from typing import Any

import numpy as np
from numpy import ndarray

from lm_merge.tuning.search.strategies import Seen

TRIES = 20


def optuna_point(seen: Seen) -> ndarray | None:
    """A point of the space that is not taken; None where Optuna gives none in 20 tries."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            "search type 'optuna' needs Optuna: pip install 'lm-merge[search]', or take 'composite'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(seen.rng.integers(2**31))
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
    )
    names = list(seen.space.parameters)
    distributions: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(list(range(len(one.choices))))
        if one.choices
        else optuna.distributions.FloatDistribution(0.0, 1.0)
        for name, one in seen.space.parameters.items()
    }
    scores = np.nan_to_num(seen.score(seen.recoveries), neginf=-1e9)
    for point, score in zip(seen.points, scores, strict=True):
        params = {name: _param(seen, name, place) for name, place in zip(names, point, strict=True)}
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions=distributions, value=float(score)
            )
        )
    for _ in range(TRIES):
        params = study.ask(distributions).params
        places = np.array([[_place(seen, name, params[name]) for name in names]])
        fresh = seen.fresh(places)
        if len(fresh):
            return fresh[0]
    return None


def _param(seen: Seen, name: str, place: float) -> float | int:
    n = len(seen.space.parameters[name].choices)
    return min(int(place * n), n - 1) if n else float(place)


def _place(seen: Seen, name: str, param: float | int) -> float:
    n = len(seen.space.parameters[name].choices)
    return (param + 0.5) / n if n else float(param)

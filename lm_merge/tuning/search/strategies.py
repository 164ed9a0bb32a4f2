"""Strategies: which point to try next, given those that were tried and the recoveries they gave."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import norm, qmc

from lm_merge.tuning.search.scores import Score, worst
from lm_merge.tuning.search.space import Points, SearchSpace

N_SOBOL, N_NEAR, N_DRAWS = 512, 128, 128
NEAR = (0.2, 0.1, 0.05, 0.02, 0.005)  # spreads around the incumbent, in shares of a range
N_RANDOM, XI = 2048, 0.01


@dataclass(frozen=True)
class Seen:
    """Everything that a proposal may depend on.

    points and recoveries: of finished trials, failed ones left out. pending: points under way. taken:
    points that must not be proposed again (tried, under way or failed). number: of the proposal.
    """

    space: SearchSpace
    points: Points
    recoveries: Float[ndarray, "n tasks"]
    pending: Points
    taken: frozenset[tuple[float, ...]] = frozenset()
    score: Score = worst
    seed: int = 0
    number: int = 0
    rng: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rng", np.random.default_rng([self.seed, self.number]))

    @property
    def best(self) -> int:
        """The finished trial with the best score, then the best mean."""
        scores = self.score(self.recoveries)
        order = np.lexsort((self.recoveries.mean(axis=-1), scores))
        return int(order[-1])

    def fresh(self, points: Points) -> Points:
        """The points, snapped, without those that are taken."""
        snapped = self.space.snapped(points)
        return snapped[[tuple(row) not in self.taken for row in snapped.tolist()]]


Strategy = Callable[[Seen], ndarray | None]


def sobol(seen: Seen) -> ndarray | None:
    """The first point of a scrambled Sobol sequence that is not taken, from the proposal's number on."""
    n = 2 ** max(6, int(np.ceil(np.log2(seen.number + 32))))
    points = seen.fresh(_sobol(len(seen.space.parameters), n, seen.seed)[seen.number :])
    return points[0] if len(points) else random(seen)


def random(seen: Seen) -> ndarray | None:
    """A point drawn evenly; None where all drawn ones are taken."""
    points = seen.fresh(seen.rng.random((N_RANDOM, len(seen.space.parameters))))
    return points[0] if len(points) else None


def grid(seen: Seen) -> ndarray | None:
    """The next point of the grid; None after the last."""
    return next((one for one in seen.space.grid() if tuple(one) not in seen.taken), None)


def gp(seen: Seen) -> ndarray | None:
    """Largest expected improvement (xi .01) of one Gaussian process on the score, of 2048 points."""
    scores = seen.score(seen.recoveries)
    finite = np.isfinite(scores)
    points = seen.fresh(seen.rng.random((N_RANDOM, len(seen.space.parameters))))
    if not len(points) or finite.sum() < 2:
        return points[0] if len(points) else None
    model = _Process(seen, scores[finite], seen.points[finite])
    mean, deviation = model.predict(seen.space.features(points))
    gain = mean - scores[finite].max() - XI
    z = gain / deviation
    return points[int(np.argmax(gain * norm.cdf(z) + deviation * norm.pdf(z)))]


def composite(seen: Seen) -> ndarray | None:
    r"""Largest expected gain of the score under one Gaussian process for each task's recovery.

    $\frac1S \sum_s \max(0, f(\rho^{(s)}(c)) - f_{best})$ over S = 128 joint draws of all recoveries at
    c, f the score; over Sobol points and points around the incumbent. It uses every recovery that a
    trial gives, where a process on the score sees their minimum only. Points under way count with
    their predicted mean.
    """
    models = [_Process(seen, column, seen.points) for column in seen.recoveries.T]
    best = float(seen.score(seen.recoveries).max())
    if len(seen.pending):
        at = seen.space.features(seen.pending)
        expected = np.stack([model.predict(at)[0] for model in models], axis=1)
        best = max(best, float(seen.score(expected).max()))
        models = [
            model.with_fantasies(at, column)
            for model, column in zip(models, expected.T, strict=True)
        ]
    draws = np.random.default_rng(seen.seed).standard_normal((N_DRAWS, 1, len(models)))
    candidates = _sobol(len(seen.space.parameters), N_SOBOL, seen.seed + seen.number)
    incumbent = seen.points[seen.best]
    chosen, value = None, -np.inf
    for points in (candidates, *(_near(incumbent, spread, seen.rng) for spread in NEAR)):
        point, gain = _largest(seen, points, models, draws, best)
        if gain > value:
            chosen, value = point, gain
    for spread in NEAR[1:]:
        if chosen is not None:
            point, gain = _largest(seen, _near(chosen, spread, seen.rng), models, draws, best)
            chosen, value = (point, gain) if gain > value else (chosen, value)
    return random(seen) if chosen is None else chosen


def _largest(
    seen: Seen, points: Points, models: list["_Process"], draws: ndarray, best: float
) -> tuple[ndarray | None, float]:
    """The point with the largest gain; where none has a gain, the one with the best expected score."""
    fresh = seen.fresh(points)
    if not len(fresh):
        return None, -np.inf
    predicted = [model.predict(seen.space.features(fresh)) for model in models]
    mean, deviation = (np.stack(one, axis=-1) for one in zip(*predicted, strict=True))
    scores = seen.score(mean + deviation * draws)
    gains = np.maximum(scores - best, 0).mean(axis=0)
    if not gains.max() > 0:
        gains = np.nan_to_num(seen.score(mean), neginf=-1e9) - best - 1e3  # below any gain
    place = int(np.argmax(gains))
    return fresh[place], float(gains[place])


class _Process:
    """A Gaussian process of standardised values: Matern 5/2, a length a feature, learned noise."""

    def __init__(self, seen: Seen, values: Float[ndarray, " n"], points: Points) -> None:
        self.center, self.scale = float(values.mean()), float(values.std()) or 1.0
        self.features = seen.space.features(points)
        self.values = (values - self.center) / self.scale
        self.model = self._fitted(None)

    def _fitted(self, kernel: Any) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        own = kernel
        if own is None:
            lengths: Any = np.ones(self.features.shape[1])
            matern = Matern(lengths, length_scale_bounds=(0.05, 20), nu=2.5)
            own = ConstantKernel(1.0, (1e-2, 1e2)) * matern + WhiteKernel(1e-3, (1e-6, 1.0))
        optimizer: Any = "fmin_l_bfgs_b" if kernel is None else None
        model = GaussianProcessRegressor(
            own, alpha=1e-10, optimizer=optimizer, n_restarts_optimizer=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # a length at its bound is an answer
            return model.fit(self.features, self.values)

    def with_fantasies(
        self, features: Float[ndarray, "m features"], values: Float[ndarray, " m"]
    ) -> "_Process":
        """The same process, with values at further points taken as seen."""
        other = object.__new__(_Process)
        other.center, other.scale = self.center, self.scale
        other.features = np.concatenate([self.features, features])
        other.values = np.concatenate([self.values, (values - self.center) / self.scale])
        other.model = other._fitted(self.model.kernel_)
        return other

    def predict(self, features: Float[ndarray, "m features"]) -> tuple[ndarray, ndarray]:
        """Mean and standard deviation of the value without its noise."""
        mean, deviation = self.model.predict(features, return_std=True)
        variance = np.maximum(deviation**2 - self.model.kernel_.k2.noise_level, 1e-12)
        return self.center + self.scale * mean, self.scale * np.sqrt(variance)


def _sobol(n_parameters: int, n: int, seed: int) -> Points:
    return qmc.Sobol(n_parameters, rng=np.random.default_rng(seed)).random_base2(int(np.log2(n)))


def _near(point: ndarray, spread: float, rng: np.random.Generator) -> Points:
    """Points around one: some parameters moved by a normal step, some of those anywhere."""
    shape = (N_NEAR, len(point))
    moved = rng.random(shape) < max(0.5, 1 / len(point))
    steps = np.where(rng.random(shape) < 0.9, spread * rng.standard_normal(shape), 0.0)
    anywhere = np.where(steps == 0.0, rng.random(shape), point + steps)
    return np.clip(np.where(moved, anywhere, point), 0.0, 1.0)


def optuna(seen: Seen) -> ndarray | None:
    """What Optuna's TPE sampler proposes after the trials so far (extra `search`)."""
    from lm_merge.tuning.search.optuna_strategy import optuna_point

    return optuna_point(seen)


STRATEGIES: dict[str, Strategy] = {
    "composite": composite,
    "gp": gp,
    "random": random,
    "grid": grid,
    "optuna": optuna,
}
NEEDS_NO_START = ("random", "grid")

"""What is measured of a decomposition: reconstruction by kind of mask, sparsity, ground truth."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lm_merge.accumulation import wide
from lm_merge.decomposition.decomposition import Decomposition, Seen
from lm_merge.decomposition.losses import Step, faithfulness
from lm_merge.decomposition.masked import Batch
from lm_merge.decomposition.masks import MASKS, Part, SeedDraws, draws_for
from lm_merge.decomposition.targets.settings import Expected
from lm_merge.metrics.decomposition import (
    ci_l0,
    dense_error,
    identity_error,
    live,
    ml2r,
    mmcs,
)

Values = dict[str, list[float]]  # metric -> one value a seed
TOLERANCES = (0.1, 0.2)
PATTERNS = {"identity": identity_error, "dense": dense_error}
EVAL_STREAM = (
    10_000  # generators of evaluation: seeds of their own, so that training draws nothing else
)
N_ASCENT = 10  # steps of the adversarial masks that are measured


@runtime_checkable
class ToyTarget(Protocol):
    """A target whose inputs are features, one at a time if need be."""

    def one_hot(self, n_seeds: int) -> Batch: ...

    def seen_by(self, name: str, matrix: Tensor) -> Tensor: ...


def eval_generators(decomposition: Decomposition, stream: int) -> list[torch.Generator]:
    """Generators of evaluation, one for each seed: equal at every call."""
    device = next(iter(decomposition.tensors.values())).device
    return [
        torch.Generator(device).manual_seed(EVAL_STREAM + 2 * seed + stream)
        for seed in decomposition.seeds
    ]


@torch.no_grad()
def reconstruction(decomposition: Decomposition, seen: Seen, draw: SeedDraws) -> Values:
    """Divergence from the target under each kind of mask, all layers masked; "adversarial" too.

    In the target's own unit: mean squared error, or nats a token.
    """
    found: Values = {}
    for kind in MASKS:
        part = Part(tuple(seen.importances), kind)
        draws = draws_for([part], seen.importances, draw, seen.batch.n_rows)
        value = decomposition.divergences(seen, decomposition.masks(seen, [part], draws))
        found[f"reconstruction_{kind}"] = value[:, 0].tolist()
    part = Part(tuple(seen.importances))
    draws = draws_for([part], seen.importances, draw, seen.batch.n_rows)
    draws = decomposition.ascended(seen, [part], draws, N_ASCENT)
    value = decomposition.divergences(seen, decomposition.masks(seen, [part], draws))
    return found | {"reconstruction_adversarial": value[:, 0].tolist()}


@torch.no_grad()
def sparsity(decomposition: Decomposition, seen: Seen) -> Values:
    """Mean number of components with an importance above 0, by layer and their mean; faithfulness."""
    step = Step(seen.factors, seen.importances, seen.upper, seen.batch.weights)
    found: Values = {"faithfulness": faithfulness(step).tolist()}
    weights = seen.batch.weights
    for name, g in seen.importances.items():
        pairs = zip(g, weights, strict=True)
        found[f"ci_l0 {name}"] = [ci_l0(one, weight) for one, weight in pairs]
    by_layer = [found[f"ci_l0 {name}"] for name in seen.importances]
    found["ci_l0"] = [sum(values) / len(values) for values in zip(*by_layer, strict=True)]
    return found


@torch.no_grad()
def ground_truth(decomposition: Decomposition, expected: Expected) -> Values:
    """Patterns of importance on one-hot inputs, live components, MMCS and ML2R of known matrices."""
    target: Any = decomposition.target
    seen = decomposition.see(target.one_hot(len(decomposition.seeds)))
    found: Values = {}
    for tol in TOLERANCES:
        by_layer = [
            [PATTERNS[kind](g, size, tol=tol) for g in seen.importances[name]]
            for name, (kind, size) in expected.items()
        ]
        key = f"pattern_error_{tol:g}".replace("0.", "0")
        for name, errors in zip(expected, by_layer, strict=True):
            found[f"{key} {name}"] = [float(one) for one in errors]
        found[key] = [float(sum(errors)) for errors in zip(*by_layer, strict=True)]
    for name, one in seen.factors.items():
        found[f"n_live {name}"] = [float(live(norms).sum()) for norms in one.norms()]
    own = [name for name, one in seen.factors.items() if one.layer.tied_to is None]
    by_seed = zip(*(found[f"n_live {name}"] for name in own), strict=True)
    found["n_live"] = [sum(values) for values in by_seed]
    found |= _geometry(target, seen, [name for name in own if expected[name][0] == "identity"])
    found["solved"] = [float(error == 0) for error in found["pattern_error_01"]]
    return found


def _geometry(target: ToyTarget, seen: Seen, names: Sequence[str]) -> Values:
    found: Values = {}
    for metric, function in {"mmcs": mmcs, "ml2r": ml2r}.items():
        columns: list[list[float]] = []
        for name in names:
            one = seen.factors[name]
            V, W = target.seen_by(name, one.V), target.seen_by(name, one.layer.weight)
            columns.append([function(U, v, W) for U, v in zip(one.U, V, strict=True)])
            found[f"{metric} {name}"] = columns[-1]
        found[metric] = [sum(values) / len(values) for values in zip(*columns, strict=True)]
    return found


def evaluate(
    decomposition: Decomposition,
    expected: Expected,
    *,
    alive: Mapping[str, Tensor] | None = None,
    metrics: Sequence[str] = ("reconstruction", "sparsity", "ground_truth"),
) -> Values:
    """The metrics by name, on fresh data that is the same at every call."""
    settings = decomposition.settings
    data, masks = (eval_generators(decomposition, stream) for stream in (0, 1))
    found: Values = {}
    with torch.no_grad():
        seen = decomposition.see(decomposition.target.batch(data, settings.eval_batch))
    draw = SeedDraws(masks, settings.mask_source)
    for name in metrics:
        found |= METRICS[name](decomposition, seen, draw, expected)
    for name, flags in (alive or {}).items():
        found[f"n_alive {name}"] = wide(flags.sum(dim=1)).tolist()
    return found


Metric = Callable[[Decomposition, Seen, SeedDraws, Expected], Values]
METRICS: dict[str, Metric] = {
    "ground_truth": lambda found, seen, draw, expected: (
        ground_truth(found, expected) if expected else {}
    ),
    "reconstruction": lambda found, seen, draw, expected: reconstruction(found, seen, draw),
    "sparsity": lambda found, seen, draw, expected: sparsity(found, seen),
}

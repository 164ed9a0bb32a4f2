"""The plain loop that a decomposition's speed is compared with computes the same."""

import pytest
import torch

from benchmarks import decomposition
from benchmarks.decomposition import DecompositionBenchmarkConfig
from benchmarks.plain_decomposition import PlainLoop
from lm_merge.decomposition.fit import Fit
from lm_merge.decomposition.settings import DecompositionSettings

SMALL = {"components": 6, "batch": 64}


def test_the_plain_loop_has_the_losses_and_gradients_of_a_seed():
    target = decomposition.random_target(DecompositionBenchmarkConfig())
    fit = Fit(target, DecompositionSettings(**SMALL), [2])
    found = fit.decomposition
    plain = PlainLoop(target, fit.settings, {name: t[0] for name, t in found.tensors.items()})
    x = target.data.draw(torch.Generator().manual_seed(5), 64)
    batch = target.batch([torch.Generator().manual_seed(5)], 64)
    assert batch.x.shape[1] < 64  # examples without a feature are one row

    def half(n_rows, n_padded, width, like):
        return torch.full((1, n_padded, width), 0.5)

    ours = found.losses(found.see(batch), half, torch.Generator(), 0.0)
    theirs = plain.losses(x, lambda n, width: torch.full((n, width), 0.5))
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert value.item() == pytest.approx(ours[name].item(), rel=1e-4), name
    sum(ours.values()).sum().backward()
    sum(theirs.values()).backward()
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(tensor.grad, found.tensors[name].grad[0], rtol=1e-3, atol=1e-6)


def test_a_step_is_timed_by_seed():
    config = DecompositionBenchmarkConfig(**SMALL, n_seeds=(1, 2), n_steps=1, n_rounds=1)
    table = decomposition.measure(config).set_index("system")
    assert list(table.n_seeds) == [1, 1, 2]
    assert (table[["wall_ms", "cpu_ms"]] > 0).all(axis=None)
    assert tuple(table.loc[decomposition.PLAIN, ["ratio", "cpu_ratio"]]) == (1, 1)

"""Leaky sigmoids, gates, losses and metrics on cases computed by hand."""

import pytest
import torch
from torch.nn.functional import gelu
from torch.testing import assert_close

from lm_merge.decomposition.components import Factors, Layer, n_components_of
from lm_merge.decomposition.importance import GATES, _ScalarGate, new_gates
from lm_merge.decomposition.leaky import leaky
from lm_merge.decomposition.losses import Step, faithfulness, frequency, importance, schatten
from lm_merge.decomposition.settings import DecompositionSettings
from lm_merge.metrics.decomposition import (
    ci_l0,
    column_order,
    dense_error,
    identity_error,
    live,
    ml2r,
    mmcs,
)


def slopes(z: list[float], incoming: float, *, upper: bool, one_sided: bool = True) -> list[float]:
    given = torch.tensor(z, requires_grad=True)
    value = leaky(given, one_sided=one_sided)[1 if upper else 0]
    (found,) = torch.autograd.grad(incoming * value.sum(), given)
    return (found / incoming).tolist()


def test_leaky_values():
    lower, upper = leaky(torch.tensor([-2.0, 0.25, 3.0]))
    assert lower.tolist() == [0.0, 0.25, 1.0]
    assert upper.tolist() == pytest.approx([0.0, 0.25, 1.02])  # 1 + 0.01 (3 - 1)


def test_leaky_slopes():
    z = [-2.0, 0.25, 3.0]
    assert slopes(z, 1.0, upper=True) == pytest.approx([0.0, 1.0, 0.01])
    assert slopes(z, 1.0, upper=False, one_sided=False) == pytest.approx([0.01, 1.0, 0.0])
    assert slopes(z, 1.0, upper=False) == pytest.approx([0.0, 1.0, 0.0])  # would lower z: stopped
    assert slopes(z, -1.0, upper=False) == pytest.approx([0.01, 1.0, 0.0])  # raises z: passes


def test_the_chunked_gate_is_the_formula(monkeypatch):
    monkeypatch.setattr("lm_merge.decomposition.importance.CHUNK", 64)
    h = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    parameters = [torch.randn(6, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(_ScalarGate.apply, (h, *parameters))
    w_in, b_in, w_out = (one.unsqueeze(1) for one in parameters)
    plain = (gelu(w_in * h.unsqueeze(-1) + b_in) * w_out).sum(dim=-1)
    assert_close(_ScalarGate.apply(h, *parameters), plain)


@pytest.mark.parametrize("name", GATES)
def test_every_gate_scores_every_component(name):
    weight = torch.randn(3, 4)
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    factors = {
        key: Factors(Layer(key, weight), torch.randn(2, 3, n), torch.randn(2, n, 4))
        for key, n in {"one": 5, "two": 6}.items()
    }
    inputs = {key: torch.randn(2, 9, 4) for key in factors}
    inner = {key: factors[key].inner(inputs[key]) for key in factors}
    tensors = new_gates(GATES[name], 8, factors, generators)
    scores = GATES[name].scores(tensors, factors, inputs, inner)
    assert {key: one.shape for key, one in scores.items()} == {"one": (2, 9, 5), "two": (2, 9, 6)}


def step(**changes) -> Step:
    """Two rows, standing for 3 examples and 1; one layer with two components."""
    factors = Factors(
        Layer("a", torch.tensor([[1.0, 2.0]])),
        torch.tensor([[[2.0, 0.0]]]),
        torch.tensor([[[0.5, 0.0], [3.0, 4.0]]]),
    )
    g = torch.tensor([[[0.5, 0.0], [1.0, 1.0]]])
    weights = torch.tensor([[3.0, 1.0]])
    return Step(**{
        "factors": {"a": factors}, "importances": {"a": g}, "upper": {"a": g},
        "weights": weights, **changes,
    })  # fmt: skip


def test_losses_by_hand():
    # U V = [1, 0], W = [1, 2]: (0 + 4) / 2
    assert faithfulness(step()).tolist() == [2.0]
    assert importance(step(), p=1.0).tolist() == [(3 * 0.5 + 2) / 4]
    assert importance(step(), p=2.0).item() == pytest.approx((3 * 0.25 + 2) / 4)
    halfway = step(progress=0.5)  # p = 1.5
    assert importance(halfway, p=1.0, p_end=2.0).item() == pytest.approx((3 * 0.5**1.5 + 2) / 4)
    # |u|^2 + |v|^2: 4 + 0.25 and 0 + 25
    assert schatten(step()).item() == pytest.approx((3 * 0.5 * 4.25 + 4.25 + 25) / 4)
    # sums 2.5 and 1, means 0.625 and 0.25, log2(3.5) and log2(2)
    assert frequency(step()).item() == pytest.approx(0.625 * 1.8073549 + 0.25)


def test_geometry_prefers_live_components():
    """A tiny duplicate of the right direction must not stand in for the component itself."""
    W = torch.eye(2)
    U = torch.cat([torch.eye(2), 1e-3 * torch.eye(2)], dim=1)
    V = torch.cat([torch.eye(2), torch.eye(2)])
    assert live(U.norm(dim=0) * V.norm(dim=1)).tolist() == [True, True, False, False]
    assert mmcs(U, V, W) == pytest.approx(1)
    assert ml2r(U, V, W) == pytest.approx(1)
    assert ml2r(2 * U, V, W) == pytest.approx(2)
    turned = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert mmcs(turned, torch.eye(2), W) == pytest.approx(0.6)


def test_pattern_errors_of_planted_matrices():
    g = torch.zeros(3, 5)
    g[0, 3] = g[1, 0] = g[2, 4] = 1
    assert identity_error(g, 3) == 0
    assert column_order(g)[:3].tolist() == [3, 0, 4]
    g[0, 1], g[1, 0] = 0.15, 0.85  # a second component, and one that is too weak
    assert (identity_error(g, 3), identity_error(g, 3, tol=0.2)) == (2, 0)
    assert identity_error(torch.eye(3)[:, :2], 3) == 1  # one component is missing
    with pytest.raises(ValueError, match="3 inputs, but an identity of 4"):
        identity_error(g, 4)
    dense = torch.zeros(3, 5)
    dense[:, 2], dense[:, 4] = 1, torch.tensor([0.95, 0.0, 0.3])
    assert dense_error(dense, 2) == 0
    assert dense_error(dense, 3) == 1  # one column of three is missing
    dense[0, 0] = 0.15
    assert (dense_error(dense, 2), dense_error(dense, 2, tol=0.2)) == (1, 0)


def test_ci_l0_counts_examples():
    g = torch.tensor([[0.5, 0.0], [1.0, 1.0]])
    assert ci_l0(g, torch.tensor([3.0, 1.0])) == pytest.approx((3 * 1 + 2) / 4)


def test_components_by_pattern():
    layers = ["layers.0.mlp_in", "layers.0.mlp_out"]
    assert n_components_of(layers, {"*_in": 4, "*": 2}) == dict(zip(layers, (4, 2), strict=True))
    with pytest.raises(ValueError, match="no pattern fits the layers"):
        n_components_of(layers, {"*_in": 4})
    with pytest.raises(ValueError, match="no layer fits"):
        n_components_of(layers, {"*": 2, "attention": 3})


@pytest.mark.parametrize(
    ("losses", "problem"),
    [
        ({"stochastik": {"weight": 1.0}}, "is unknown; choose from"),
        ({"importance": {"weight": 1.0, "q": 2.0}}, "unknown: \\['q'\\]"),
        ({"importance": {"p": 2.0}}, "give a weight"),
    ],
)
def test_wrong_losses_are_refused(losses, problem):
    with pytest.raises(ValueError, match=problem):
        DecompositionSettings(losses=losses)

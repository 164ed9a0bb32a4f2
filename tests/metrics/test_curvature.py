"""Curvature against full Hessians, finite differences and closed forms; the bound on random segments."""

from math import sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from lm_merge import metrics
from lm_merge.metrics.curvature import SHARPEST_TURN
from lm_merge.metrics.jets import TwiceDifferentiable

D_MODEL, D_VOCAB, N_TOKENS = 12, 31, 7
DOUBLE = torch.float64


class ReadOut:
    """RMSNorm or LayerNorm with a gain, then a matrix, then perhaps a soft cap."""

    def __init__(self, seed: int = 0, *, centred: bool = False, cap: float | None = None) -> None:
        gen = torch.Generator().manual_seed(seed)
        self.gain = 1 + 0.5 * torch.randn(D_MODEL, generator=gen, dtype=DOUBLE)
        self.unembedding = torch.randn(D_MODEL, D_VOCAB, generator=gen, dtype=DOUBLE)
        self.centred, self.cap = centred, cap

    def __call__(self, x: Tensor) -> Tensor:
        if self.centred:
            normed = nn.functional.layer_norm(x, (D_MODEL,), self.gain, self.gain / 3, 1e-6)
        else:
            normed = self.gain * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        logits = normed @ self.unembedding
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


def random_segments(n: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    host, direction = torch.randn(2, n, D_MODEL, generator=gen, dtype=DOUBLE)
    return host, direction, torch.randint(D_VOCAB, (n,), generator=gen)


def losses(readout: ReadOut, states: Tensor, targets: Tensor) -> Tensor:
    targets = targets.expand(states.shape[:-1])
    with TwiceDifferentiable():
        logits = readout(states)
    return cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(
        targets.shape
    )


def loss_jet(readout: ReadOut, host: Tensor, direction: Tensor, targets: Tensor, nodes: Tensor):
    states = host + nodes.view(-1, 1, 1) * direction
    logits = metrics.jet(readout, states, direction.expand_as(states))
    return metrics.cross_entropy_jet(logits, targets.expand(states.shape[:-1]))


READOUTS = {
    "rms": ReadOut(),
    "layer norm": ReadOut(centred=True),
    "soft cap": ReadOut(cap=3.0),
    "layer norm, soft cap": ReadOut(centred=True, cap=3.0),
}


@pytest.mark.parametrize("name", READOUTS)
def test_second_derivative_is_the_quadratic_form_of_the_full_hessian(name):
    readout = READOUTS[name]
    host, direction, targets = random_segments(N_TOKENS)
    got = loss_jet(readout, host, direction, targets, torch.tensor([0.3], dtype=DOUBLE))
    for i in range(N_TOKENS):

        def loss(x: Tensor, i: int = i) -> Tensor:
            return cross_entropy(readout(x).unsqueeze(0), targets[i : i + 1])

        x, v = host[i] + 0.3 * direction[i], direction[i]
        hessian = torch.autograd.functional.hessian(loss, x)
        assert_close(got.second[0, i], v @ hessian @ v, rtol=1e-9, atol=1e-10)
        gradient = torch.autograd.functional.jacobian(loss, x)
        assert_close(got.first[0, i], gradient @ v, rtol=1e-9, atol=1e-10)
        assert_close(got.value[0, i], loss(x), rtol=1e-12, atol=1e-12)


def test_a_bent_path_adds_the_gradient_along_its_bend():
    readout = READOUTS["rms"]
    value, first, second = torch.randn(3, N_TOKENS, D_MODEL, dtype=DOUBLE)

    def at(u: float) -> Tensor:
        return readout(value + u * first + u * u / 2 * second)

    found, step = metrics.jet(readout, value, first, second), 1e-4
    assert_close(found.first, (at(step) - at(-step)) / (2 * step), rtol=1e-6, atol=1e-6)
    curved = (at(step) - 2 * at(0.0) + at(-step)) / step**2
    assert_close(found.second, curved, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.LayerNorm(D_MODEL)])
def test_operations_that_torch_differentiates_once_or_wrongly_come_out_right(layer):
    layer, step = layer.double(), 1e-4
    x, v = torch.randn(2, 5, D_MODEL, dtype=DOUBLE)
    found = metrics.jet(layer, x, v)
    with torch.no_grad():
        assert_close(found.value, layer(x), rtol=1e-12, atol=1e-12)
        difference = (layer(x + step * v) - 2 * layer(x) + layer(x - step * v)) / step**2
    assert_close(found.second, difference, rtol=1e-5, atol=1e-6)
    assert not found.second.requires_grad


def test_linear_maps_are_differentiated_in_whatever_moves():
    weight = nn.Parameter(torch.randn(3, D_MODEL, dtype=DOUBLE))
    x, v = torch.randn(2, D_MODEL, dtype=DOUBLE)
    first = nn.functional.linear(v, weight.detach())
    found = metrics.jet(lambda s: nn.functional.linear(s, weight), x, v)
    assert_close(found.first, first)
    assert_close(found.second, torch.zeros_like(first))
    named = metrics.jet(lambda s: nn.functional.linear(s, weight=weight), x, v)
    assert_close(named.first, first)
    curved = metrics.jet(lambda s: nn.functional.linear(s, weight * s), x, v)  # W x^2
    assert_close(curved.second, 2 * weight.detach() @ v.square())
    of_weight = metrics.jet(lambda w: nn.functional.linear(x, w), weight, torch.ones_like(weight))
    assert_close(of_weight.first, x.sum().expand(3))


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.75])
def test_the_integral_of_the_curvature_is_the_gap(name, alpha):
    readout, (host, direction, targets) = READOUTS[name], random_segments(200)
    nodes, _ = metrics.gauss_legendre(64, alpha)
    second = loss_jet(readout, host, direction, targets, nodes).second
    ends = [losses(readout, host + t * direction, targets) for t in (0.0, 1.0, alpha)]
    actual = metrics.gap_nats(*ends, alpha)
    assert_close(metrics.integral_gap_nats(second, alpha, 64), actual, rtol=1e-6, atol=1e-9)


def test_without_a_split_at_the_kink_the_integral_is_not_reached():
    alpha, (host, direction, targets) = 0.37, random_segments(200)
    nodes, weights = metrics.gauss_legendre(64)
    second = loss_jet(READOUTS["rms"], host, direction, targets, nodes).second
    kernel = nodes.clamp(max=alpha) * (1 - nodes.clamp(min=alpha))
    unsplit = -torch.tensordot(weights * kernel, second, dims=1)
    ends = [losses(READOUTS["rms"], host + t * direction, targets) for t in (0.0, 1.0, alpha)]
    error = (unsplit / metrics.gap_nats(*ends, alpha) - 1).abs()
    assert error.median() > 1e-6


@pytest.mark.parametrize("name", READOUTS)
def test_no_gap_exceeds_its_bound_on_thousands_of_segments(name):
    readout, (host, direction, targets) = READOUTS[name], random_segments(2000, seed=2)
    second = loss_jet(readout, host, direction, targets, metrics.gauss_legendre(16)[0]).second
    sq_distance = direction.square().sum(-1)
    k_g = metrics.k_g(second, sq_distance)
    host_loss, donor_loss = (losses(readout, host + t * direction, targets) for t in (0.0, 1.0))
    for alpha in torch.arange(0.1, 0.95, 0.1).tolist():
        merged = losses(readout, host + alpha * direction, targets)
        actual = metrics.gap_nats(host_loss, donor_loss, merged, alpha)
        bound = metrics.gap_bound_nats(k_g, sq_distance, alpha)
        assert (actual <= bound + 1e-12).all()
        assert (actual / bound).max() > 0.7  # and the bound is no empty one


@pytest.mark.parametrize("centred", [False, True])
def test_the_closed_form_is_never_below_the_exact_curvature(centred):
    readout, (host, direction, targets) = ReadOut(centred=centred), random_segments(2000, seed=3)
    nodes, _ = metrics.gauss_legendre(16)
    second = loss_jet(readout, host, direction, targets, nodes).second
    states = host + nodes.view(-1, 1, 1) * direction
    with torch.no_grad():
        probabilities = readout(states).softmax(-1)
    closed = metrics.k_g_closed_form(
        states,
        probabilities,
        targets.expand(states.shape[:-1]),
        readout.gain,
        readout.unembedding,
        centred=centred,
    )
    exact = -second / direction.square().sum(-1)
    assert (exact <= closed).all()
    assert (exact / closed).max() > 0.1


def norm_curvature(x: Tensor, v: Tensor) -> Tensor:
    def norm(s: Tensor) -> Tensor:
        return sqrt(D_MODEL) * s / s.norm(dim=-1, keepdim=True)

    return metrics.jet(norm, x, v).second.norm(dim=-1, keepdim=True)


def test_no_direction_bends_the_norm_more_than_the_closed_form_says_and_one_that_much():
    x, v = torch.randn(2, 200, D_MODEL, dtype=DOUBLE)
    v = v / v.norm(dim=-1, keepdim=True)
    exact = norm_curvature(x, v)
    most = SHARPEST_TURN * sqrt(D_MODEL) / x.square().sum(-1, keepdim=True)
    assert (exact <= most).all()
    along = x / x.norm(dim=-1, keepdim=True)
    across = v - (v * along).sum(-1, keepdim=True) * along
    across = across / across.norm(dim=-1, keepdim=True)
    worst = sqrt(2 / 3) * across + sqrt(1 / 3) * along  # s = sin^2 = 2/3
    assert_close(norm_curvature(x, worst), most)
    assert_close(norm_curvature(x, along), torch.zeros_like(most), atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [0.1, 0.3])  # no float32
def test_the_integral_keeps_the_precision_of_its_points(alpha):
    nodes, _ = metrics.gauss_legendre(8, alpha)
    got = metrics.integral_gap_nats(torch.full((len(nodes),), -1.0, dtype=DOUBLE), alpha, 8)
    assert_close(got, torch.tensor(alpha * (1 - alpha) / 2, dtype=DOUBLE), rtol=1e-14, atol=0.0)


def test_twice_as_long_streams_have_a_quarter_of_the_curvature():
    host, direction, targets = random_segments(50)
    nodes, _ = metrics.gauss_legendre(16)
    found = []
    for scale in (1.0, 2.0):
        second = loss_jet(ReadOut(), scale * host, scale * direction, targets, nodes).second
        found.append(metrics.k_g(second, (scale * direction).square().sum(-1)))
    assert_close(found[1], found[0] / 4, rtol=1e-4, atol=1e-9)  # but for the norm's epsilon
    states, p = host, torch.full((50, D_VOCAB), 1 / D_VOCAB, dtype=DOUBLE)
    closed = [
        metrics.k_g_closed_form(scale * states, p, targets, ReadOut().gain, ReadOut().unembedding)
        for scale in (1.0, 2.0)
    ]
    assert_close(closed[1], closed[0] / 4)


def test_a_convex_loss_has_no_k_g_and_no_distance_leaves_it_undefined():
    second = torch.tensor([[1.0, -2.0, 0.0], [3.0, -8.0, 0.0]])
    found = metrics.k_g(second, torch.tensor([2.0, 4.0, 0.0]))
    assert_close(found, torch.tensor([0.0, 2.0, torch.nan]), equal_nan=True)


def test_points_are_exact_for_polynomials_on_both_sides_of_a_split():
    nodes, weights = metrics.gauss_legendre(3, 0.3)
    assert len(nodes) == 6
    for degree in range(6):
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1))
    left = nodes < 0.3
    assert weights[left].sum().item() == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r"split=1.0 must lie strictly between 0 and 1"):
        metrics.gauss_legendre(3, 1.0)
    with pytest.raises(ValueError, match=r"n_points=0 must be at least 1"):
        metrics.gauss_legendre(0)

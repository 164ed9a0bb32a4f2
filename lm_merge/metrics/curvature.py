r"""How much a loss can rise between two models: curvature along the segment from host to donor.

$f$ is a next-token loss as a function of the residual stream at a block, $x(t) = h + t (d - h)$ the
straight segment from the host's stream to the donor's. At every alpha $a$, exactly,

$f(x(a)) - [(1-a) f(h) + a f(d)] = -\int_0^1 G(a, t) f''(t)\,dt$, $G(a, t) = \min(a,t)(1 - \max(a,t))$,

and since $\int G\,dt = a(1-a)/2$,

$f(x(a)) \le (1-a) f(h) + a f(d) + \tfrac12 a(1-a) K_g \|d-h\|^2$,
$K_g = \max_t \max(0, -f''(t)) / \|d-h\|^2$.

Only negative curvature costs anything. The left side minus the two losses is the *gap*, in nats.
"""

from math import sqrt

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_merge.metrics.jets import Jet

SHARPEST_TURN = 2 / sqrt(3)  # the largest |D^2 (x / |x|)[v, v]| |x|^2 over unit directions v


def cross_entropy_jet(logits: Jet, targets: Int[Tensor, "*batch"]) -> Jet:
    r"""Loss in nats, and its derivatives, for logits [*batch, d_vocab] that move along a path.

    $\ell = \mathrm{lse}(z) - z_y$, $\ell' = p \cdot z' - z'_y$,
    $\ell'' = \mathrm{Var}_p(z') + p \cdot z'' - z''_y$ with $p = \mathrm{softmax}(z)$. The variance is
    never negative: all negative curvature of the loss is in how the logits bend.
    """
    p = logits.value.softmax(dim=-1)
    index = targets.unsqueeze(-1)
    value = logits.value.logsumexp(dim=-1) - logits.value.gather(-1, index).squeeze(-1)
    mean = (p * logits.first).sum(dim=-1, keepdim=True)
    spread = (p * (logits.first - mean).square()).sum(dim=-1)
    bend = (p * logits.second).sum(dim=-1) - logits.second.gather(-1, index).squeeze(-1)
    return Jet(value, (mean - logits.first.gather(-1, index)).squeeze(-1), spread + bend)


def gauss_legendre(
    n_points: int, split: float | None = None
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Nodes in (0, 1) and weights that sum to 1, float64; n_points on each side of a `split`.

    Exact for polynomials of degree 2 n_points - 1. The integrand of the gap has a kink at t = alpha:
    split there.
    """
    if n_points < 1:
        raise ValueError(f"n_points={n_points} must be at least 1")
    if split is not None and not 0 < split < 1:
        raise ValueError(f"split={split} must lie strictly between 0 and 1")
    nodes, weights = (torch.from_numpy(one) for one in np.polynomial.legendre.leggauss(n_points))
    nodes, weights = (nodes + 1) / 2, weights / 2
    if split is None:
        return nodes, weights
    nodes = torch.cat([split * nodes, split + (1 - split) * nodes])
    return nodes, torch.cat([split * weights, (1 - split) * weights])


def gap_nats(
    host: Float[Tensor, "*tokens"],
    donor: Float[Tensor, "*tokens"],
    merged: Float[Tensor, "*tokens"],
    alpha: float,
) -> Float[Tensor, "*tokens"]:
    """Loss of the merge above the line between both ends' losses; negative where it is below."""
    return merged - ((1 - alpha) * host + alpha * donor)


def integral_gap_nats(
    second: Float[Tensor, " points *tokens"], alpha: float, n_points: int
) -> Float[Tensor, "*tokens"]:
    r"""The same gap, $-\int G(\alpha, t) f''(t)\,dt$, from f'' at `gauss_legendre(n_points, alpha)`."""
    nodes, weights = gauss_legendre(n_points, alpha)
    kernel = nodes.clamp(max=alpha) * (1 - nodes.clamp(min=alpha))
    return -torch.tensordot((weights * kernel).to(second), second, dims=1)


def k_g(
    second: Float[Tensor, " points *tokens"], sq_distance: Float[Tensor, "*tokens"]
) -> Float[Tensor, "*tokens"]:
    r"""$\max_t \max(0, -f''(t)) / \|d-h\|^2$ in nats per squared norm, in [0, inf); 0 for convex losses.

    second: f'' at the points t, at least 16 of them; the maximum is over these points, so that it may
    lie a little below the true one. NaN where host and donor agree.
    """
    return (-second).clamp(min=0).amax(dim=0) / sq_distance


def gap_bound_nats(
    k_g: Float[Tensor, "*tokens"], sq_distance: Float[Tensor, "*tokens"], alpha: float
) -> Float[Tensor, "*tokens"]:
    r"""$\tfrac12 \alpha(1-\alpha) K_g \|d-h\|^2$: what the gap cannot exceed, in nats."""
    return alpha * (1 - alpha) / 2 * k_g * sq_distance


def k_g_closed_form(
    states: Float[Tensor, "*batch d_model"],
    probabilities: Float[Tensor, "*batch d_vocab"],
    targets: Int[Tensor, "*batch"],
    gain: Float[Tensor, " d_model"],
    unembedding: Float[Tensor, "d_model d_vocab"],
    *,
    centred: bool = False,
) -> Float[Tensor, "*batch"]:
    r"""What $-f''/\|d-h\|^2$ cannot exceed at a point of the last block, without differentiation.

    $\frac{2}{\sqrt3}\sqrt{D}\,|\gamma \circ W_U(p - e_y)| / |x|^2$, in nats per squared norm, for a
    final RMSNorm with gain $\gamma$ and a linear read-out $W_U$; its maximum over a segment bounds
    $K_g$.

    Proof. $f''$ is a variance, not negative, plus $(p - e_y) \cdot W_U^T (\gamma \circ D^2 n[v, v])$,
    at most $|\gamma \circ W_U(p - e_y)|$ times the largest $|D^2 n(x)[v, v]|$ over unit v. For
    $n(x) = \sqrt D\,x/|x|$ that is $\frac{\sqrt D}{|x|^2}\sqrt{4s - 3s^2}$ with s the squared sine of
    the angle between v and x: 0 along x and most, $2/\sqrt3$ in place of the root, at s = 2/3. The
    norm's epsilon only helps: with $n_\epsilon(x) = \sqrt D\,x/r$, $r^2 = |x|^2 + D\epsilon$,
    $q = |x|^2/r^2 \le 1$ and $u = (x \cdot v)^2/r^2$,
    $|D^2 n_\epsilon[v,v]|^2 r^4/D = 8u - 12u^2 + q(1-3u)^2 \le 1 + 2u - 3u^2 \le 4/3$, and $r \ge |x|$.

    centred: LayerNorm is that norm after the projection P off the mean, $D^2(n \circ P)[v, v] =
    (D^2 n)(Px)[Pv, Pv]$ with $|Pv| \le |v|$; so the same holds with $|Px|$ for $|x|$. Its bias, and a
    bias of the read-out, add constants. A soft cap on the logits bends them itself: no bound then.
    """
    pull = (probabilities @ unembedding.T - unembedding.T[targets]) * gain
    size = (states - states.mean(dim=-1, keepdim=True)) if centred else states
    return SHARPEST_TURN * sqrt(states.shape[-1]) * pull.norm(dim=-1) / size.square().sum(dim=-1)

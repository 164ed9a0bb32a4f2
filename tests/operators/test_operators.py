"""What every operator must do, present and future; then what each is, by closed form."""

from math import cos, pi, sin

import pytest
import torch
from torch.testing import assert_close

from lm_merge.geometry import angle, log_map, unit
from lm_merge.operators import OPERATORS, get_operator, karcher_mean, lerp, needs_base, slerp
from lm_merge.operators.steering import Steering
from lm_merge.recipes import LatentRecipe

# operators that break a clause on purpose, with the reason
NOT_SYMMETRIC = {
    "regmean": "with donor weights given, the host is what they pull from, not one of the equals",
    "task_vector": "the host is not measured from the ancestor, the donors are",
}
DONOR_IS_NOT_REACHED = {"task_vector": "at alpha 1 it is host + donor - ancestor"}


def states_and_weights(n_models: int, alpha: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(n_models, 4, 5, 16, generator=generator, dtype=torch.float64)
    share = alpha / (n_models - 1)
    weights = torch.tensor([1 - alpha, *[share] * (n_models - 1)], dtype=torch.float64)
    base = torch.randn(4, 5, 16, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64)).Q
    return states, weights.view(-1, 1, 1, 1), base, rotation


def call(name: str, states, weights, base):
    operator = get_operator(name)
    return (
        operator(states, weights, base=base) if needs_base(operator) else operator(states, weights)
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("n_models", [2, 3])
@pytest.mark.parametrize("name", OPERATORS)
def test_contract(name, n_models, alpha, seed):
    states, weights, base, rotation = states_and_weights(n_models, alpha, seed)
    merged = call(name, states, weights, base)
    assert merged.shape == states.shape[1:]
    assert_close(call(name, states @ rotation, weights, base @ rotation), merged @ rotation)
    same = states[:1].expand_as(states)
    assert_close(call(name, same, weights, base=states[0]), states[0])
    if name not in NOT_SYMMETRIC:
        assert_close(call(name, states.flip(0), weights.flip(0), base), merged)
    if alpha == 0:
        assert_close(merged, states[0])
    if alpha == 1 and n_models == 2 and name not in DONOR_IS_NOT_REACHED:
        assert_close(merged, states[1])


@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_are_those_of_finite_differences(name):
    states, weights, base, _ = states_and_weights(2, 0.4, 0)
    small = states[:, :1, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: call(name, s, weights, base[:1, :1]), small)


def test_slerp_of_a_quarter_turn_by_hand():
    # from (2, 0) to (0, 4), a third of the way: direction at 30 degrees, length 2 + (4 - 2) / 3
    states = torch.tensor([[2.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    merged = slerp(states, torch.tensor([[2 / 3], [1 / 3]], dtype=torch.float64))
    length = 8 / 3
    assert_close(merged, torch.tensor([length * cos(pi / 6), length * sin(pi / 6)]).double())


@pytest.mark.parametrize("turn", [1e-9, 1e-5, 1e-3, 0.5, 3.0])
def test_slerp_travels_alpha_of_the_arc_at_any_angle(turn):
    states = torch.tensor([[1.0, 0.0, 0.0], [cos(turn), sin(turn), 0.0]], dtype=torch.float64)
    weights = torch.tensor([[0.7], [0.3]], dtype=torch.float64)
    travelled = angle(states[0], slerp(states, weights))
    assert_close(travelled / turn, torch.full((1,), 0.3, dtype=torch.float64), rtol=1e-6, atol=0.0)


def test_slerp_is_undefined_where_no_path_is_unique():
    weights = torch.full((2, 1, 1), 0.5)
    host = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    donor = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    undefined = slerp(torch.stack([host, donor]), weights).isnan().all(dim=-1)
    assert undefined.tolist() == [True, True, False]  # opposite, zero, at right angles


def test_spherical_mean_balances_the_pulls_of_all_models():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(5, 3, 16, generator=generator, dtype=torch.float64)
    weights = torch.rand(5, 3, 1, generator=generator, dtype=torch.float64)
    weights = weights / weights.sum(dim=0)
    mean = karcher_mean(states, weights)
    pull = sum(w * log_map(unit(mean), unit(s)) for w, s in zip(weights, states, strict=True))
    assert_close(pull, torch.zeros_like(mean), atol=1e-9, rtol=0.0)
    lengths = (weights * states.norm(dim=-1, keepdim=True)).sum(dim=0)
    assert_close(mean.norm(dim=-1, keepdim=True), lengths)


def test_spherical_mean_of_two_is_slerp():
    states, weights, *_ = states_and_weights(2, 0.3, 1)
    assert_close(karcher_mean(states, weights), slerp(states, weights))


@pytest.mark.parametrize("lambda_reg", [0.0, 0.5, 3.0])
def test_regmean_minimises_its_objective(lambda_reg):
    host, one, other = torch.randn(3, 8, dtype=torch.float64)
    target = (one + other) / 2
    beta = 1 / (1 + lambda_reg)
    weights = torch.tensor([[1 - beta], [beta / 2], [beta / 2]], dtype=torch.float64)
    merged = OPERATORS["regmean"](torch.stack([host, one, other]), weights).requires_grad_()
    objective = (merged - target).square().sum() + lambda_reg * (merged - host).square().sum()
    (gradient,) = torch.autograd.grad(objective, merged)
    assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0.0)


def test_task_vector_with_the_host_as_ancestor_is_lerp():
    states, weights, *_ = states_and_weights(3, 0.4, 2)
    assert_close(OPERATORS["task_vector"](states, weights, base=states[0]), lerp(states, weights))


def test_steering_adds_its_vector_and_gives_back_the_very_tensor_at_zero():
    state = torch.randn(2, 3, 4, dtype=torch.bfloat16)
    delta = torch.tensor([1.0, 0.0, -1.0, 2.0])
    steered = Steering({1: delta}, alpha=2.0).add(state, 1)
    assert steered.dtype == torch.bfloat16
    assert_close(steered, (state.float() + 2 * delta).bfloat16())
    assert Steering({1: delta}, alpha=0.0).add(state, 1) is state
    exact = torch.tensor([1.0, 1.0, 1.0, 1.0], dtype=torch.float64) + 2**-40
    assert torch.equal(Steering({1: delta}, alpha=2.0).add(exact, 1), exact + 2 * delta.double())


def test_the_help_of_a_recipe_lists_the_operators_that_there_are():
    """The list is written down there because help does not import the operators and torch."""
    listed = str(LatentRecipe.model_fields["operator"].description).split(", or ")[0].split(", ")
    assert listed == list(OPERATORS)


def test_unknown_operator_names_the_known_ones():
    with pytest.raises(
        ValueError, match="unknown operator 'slrp'; choose from lerp, regmean, slerp"
    ):
        get_operator("slrp")

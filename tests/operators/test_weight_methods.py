"""What the parts of weight-space methods must do, and what each is by closed form."""

from functools import partial
from math import cos, sin

import pytest
import torch
from torch.testing import assert_close

from lm_merge.geometry import angle, cosine
from lm_merge.operators import karcher_mean, slerp
from lm_merge.operators.consensus import agreeing_sum
from lm_merge.operators.data_based import fisher_mean, gram_mean
from lm_merge.operators.random_masks import keep_random, keep_random_by_magnitude
from lm_merge.operators.span import model_stock, norm_mean, slerp_unnormalized, weights_in_span
from lm_merge.operators.sparse import keep_largest, keep_middle, largest
from lm_merge.operators.weight_methods import RANGES, WEIGHT_METHODS, get_weight_method

DIRECTIONS = {
    "karcher": karcher_mean,
    "model_stock": model_stock,
    "norm_mean": norm_mean,
    "slerp": slerp,
    "slerp_unnormalized": slerp_unnormalized,
}
COMBINATIONS = {
    **DIRECTIONS,
    "agreeing_mean": partial(agreeing_sum, normalize=True),
    "agreeing_sum": partial(agreeing_sum, normalize=False),
}
# those that break a clause on purpose, with the reason
NOT_EQUIVARIANT = {"agreeing_mean": "signs are taken by coordinate", "agreeing_sum": "the same"}


def inputs(n_models: int, seed: int, drift: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(64, generator=generator, dtype=torch.float64)
    noise = torch.randn(n_models, 64, generator=generator, dtype=torch.float64)
    weights = torch.rand(n_models, 1, generator=generator, dtype=torch.float64) + 0.1
    rotation = torch.linalg.qr(torch.randn(64, 64, generator=generator, dtype=torch.float64)).Q
    return shared + drift * noise, weights / weights.sum(), rotation


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_models", [2, 3])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_contract_of_combinations(name, n_models, seed):
    if name == "slerp_unnormalized" and n_models > 2:
        pytest.skip("of two models only")
    combine = COMBINATIONS[name]
    states, weights, rotation = inputs(n_models, seed)
    merged = combine(states, weights)
    assert merged.shape == states.shape[1:]
    assert_close(combine(states.flip(0), weights.flip(0)), merged)
    assert_close(combine(3 * states, weights), 3 * merged)
    same = states[:1].expand_as(states)
    assert_close(combine(same, weights), states[0])
    if name not in NOT_EQUIVARIANT:
        assert_close(combine(states @ rotation, weights), merged @ rotation)


@pytest.mark.parametrize("drift", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("n_models", [2, 3])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_coordinates_in_the_span_stand_for_the_tensors(name, n_models, drift):
    if name == "slerp_unnormalized" and n_models > 2:
        pytest.skip("of two models only")
    states, weights, _ = inputs(n_models, 0, drift)
    differences = states.clone()
    differences[1:] -= states[0]
    turned = weights_in_span(differences @ differences.T, weights, DIRECTIONS[name])
    expected = DIRECTIONS[name](states, weights)
    assert_close((turned * states).sum(dim=0), expected, rtol=1e-9, atol=1e-9)


def test_weights_where_there_is_nothing_to_turn_are_undefined():
    zero = torch.zeros(2, 2, dtype=torch.float64)
    weights = torch.tensor([[0.5], [0.5]], dtype=torch.float64)
    assert weights_in_span(zero, weights, slerp).isnan().all()


def test_unnormalised_slerp_by_hand():
    # at right angles, a third of the way: (cos 30, 0) * 2 and (0, sin 30) * 4
    states = torch.tensor([[2.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    weights = torch.tensor([[2 / 3], [1 / 3]], dtype=torch.float64)
    third = torch.pi / 6
    expected = torch.tensor([2 * cos(third), 4 * sin(third)], dtype=torch.float64)
    assert_close(slerp_unnormalized(states, weights), expected)
    straight = slerp_unnormalized(states, weights, straight_above=-1.0)
    assert_close(straight, torch.tensor([4 / 3, 4 / 3], dtype=torch.float64))


def test_model_stock_by_hand():
    # cosine 1/2 of two: t = 2 * 0.5 / 1.5 = 2/3 of the mean (3/4, sqrt(3)/4) of two unit vectors
    tilted = [cos(torch.pi / 3), sin(torch.pi / 3)]
    states = torch.tensor([[1.0, 0.0], tilted], dtype=torch.float64)
    assert_close(cosine(states[0], states[1]), torch.tensor([0.5], dtype=torch.float64))
    merged = model_stock(states, torch.full((2, 1), 0.5, dtype=torch.float64))
    assert_close(merged, 2 / 3 * states.mean(dim=0))
    opposite = torch.stack([states[0], -states[0]])
    assert_close(model_stock(opposite, torch.ones(2, 1).double()), torch.zeros(2).double())


def test_agreement_by_hand():
    # signs elected on weighted sums: +, -, + (a sum of 0), nobody
    task_vectors = torch.tensor([[1.0, -4.0, 1.0, 0.0], [3.0, 1.0, -1.0, 0.0]])
    weights = torch.tensor([[1.0], [1.0]])
    assert agreeing_sum(task_vectors, weights).tolist() == [2.0, -4.0, 1.0, 0.0]
    assert agreeing_sum(task_vectors, weights, normalize=False).tolist() == [4.0, -4.0, 1.0, 0.0]
    uneven = torch.tensor([[3.0], [1.0]])
    assert agreeing_sum(task_vectors, uneven).tolist() == [1.5, -4.0, 1.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.37, 0.999, 1.0])
def test_exactly_the_asked_number_stays_and_it_is_the_largest(density, dtype):
    vector = torch.randn(1000, dtype=dtype)
    kept = keep_largest(vector, density=density)
    count = max(1, int(density * 1000))
    assert int((kept != 0).sum()) == count
    left, gone = vector[kept != 0].abs(), vector[kept == 0].abs()
    assert torch.equal(kept[kept != 0], vector[kept != 0])
    assert count == 1000 or left.min() > gone.max()


def test_among_equals_the_first_stay():
    vector = torch.tensor([1.0, -2.0, 2.0, 0.0, -2.0, 2.0, 3.0])
    assert largest(vector, 3).tolist() == [0, -2, 2, 0, 0, 0, 3]
    rounded = torch.randn(5000).bfloat16().float()  # many equal magnitudes
    assert int((largest(rounded, 1234) != 0).sum()) == 1234
    order = torch.argsort(rounded.abs(), descending=True, stable=True)
    expected = torch.zeros_like(rounded).index_copy_(0, order[:1234], rounded[order[:1234]])
    assert torch.equal(largest(rounded, 1234), expected)
    assert torch.equal(largest(torch.zeros(4), 2), torch.zeros(4))


def test_the_middle_by_hand():
    vector = torch.tensor([5.0, -4.0, 3.0, -2.0, 1.0])
    assert keep_middle(vector, density=0.4, gamma=0.2).tolist() == [0, -4, 3, 0, 0]
    assert keep_middle(vector, density=0.8, gamma=0.4).tolist() == [
        0,
        -4,
        3,
        -2,
        1,
    ]  # density holds
    assert keep_middle(vector, density=0.4, gamma=0.0).tolist() == [5, -4, 0, 0, 0]


@pytest.mark.parametrize("rescale", ["density", "l1"])
def test_random_masks_keep_the_density_and_the_size(rescale):
    vector = torch.randn(200_000)
    kept = keep_random(vector, density=0.3, seed=5, rescale=rescale)
    assert torch.equal(kept, keep_random(vector, density=0.3, seed=5, rescale=rescale))
    assert not torch.equal(kept, keep_random(vector, density=0.3, seed=6, rescale=rescale))
    assert (kept != 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    if rescale == "density":
        assert_close(kept[kept != 0], vector[kept != 0] / 0.3)
    else:
        assert kept.abs().sum().item() == pytest.approx(vector.abs().sum().item(), rel=1e-5)


def test_random_masks_at_the_ends():
    vector = torch.randn(10)
    assert torch.equal(keep_random(vector, density=1.0, seed=0), vector)
    assert torch.equal(keep_random(vector, density=0.0, seed=0), torch.zeros(10))
    for density, expected in ((1.0, vector), (0.0, torch.zeros(10))):
        kept = keep_random_by_magnitude(vector, density=density, epsilon=0.15, seed=0)
        assert torch.equal(kept, expected)


def test_slerp_of_tensors_is_undefined_at_opposite_ones_unless_straight():
    states, weights = torch.tensor([[1.0, 0.0], [-2.0, 1e-4]]), torch.tensor([[0.25], [0.75]])
    assert slerp_unnormalized(states, weights).isnan().all()
    straight = slerp_unnormalized(states, weights, straight_above=0.9995)
    assert_close(straight, (weights * states).sum(dim=0))


def test_della_keeps_large_values_more_often_and_rows_of_one_value():
    rows = torch.arange(1.0, 5.0).repeat(40_000, 1)
    kept = keep_random_by_magnitude(rows, density=0.5, epsilon=0.3, seed=1)
    chances = (kept != 0).float().mean(dim=0)
    assert_close(chances, torch.tensor([0.2, 0.4, 0.6, 0.8]), atol=0.01, rtol=0.0)
    assert_close(kept.mean(dim=0), rows[0], atol=0.05, rtol=0.0)  # the expectation is kept
    alone = keep_random_by_magnitude(torch.ones(50_000, 1), density=0.25, epsilon=0.2, seed=1)
    assert alone.mean().item() == pytest.approx(1.0, abs=0.05)
    assert set(alone.unique().tolist()) == {0.0, 4.0}


def test_gram_mean_answers_best_on_the_data():
    generator = torch.Generator().manual_seed(0)
    inputs_of = torch.randn(2, 30, 5, generator=generator, dtype=torch.float64)
    layers = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    merged = gram_mean(layers, inputs_of.mT @ inputs_of, off_diagonal=1.0)
    stacked = torch.cat([x @ w.T for x, w in zip(inputs_of, layers, strict=True)])
    expected = torch.linalg.lstsq(inputs_of.flatten(0, 1), stacked).solution.T  # least squares
    assert_close(merged, expected)
    same = layers[:1].expand_as(layers)
    assert_close(gram_mean(same, inputs_of.mT @ inputs_of), layers[0])


def test_gram_mean_without_data_in_a_direction_is_the_mean_there():
    layers = torch.randn(2, 4, 3, dtype=torch.float64)
    grams = torch.diag_embed(torch.tensor([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]], dtype=torch.float64))
    merged = gram_mean(layers, grams)
    assert_close(merged[:, 2], layers[:, :, 2].mean(dim=0))
    assert_close(merged[:, 0], 0.25 * layers[0, :, 0] + 0.75 * layers[1, :, 0])


def test_fisher_mean_by_hand():
    states = torch.tensor([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
    fishers = torch.tensor([[3.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    assert fisher_mean(states, fishers).tolist() == [2.0, 6.0, 5.0]


def test_spherical_mean_stops_at_its_tolerance():
    states, weights, _ = inputs(3, 0)
    few = karcher_mean(states, weights, max_iter=1)
    assert angle(few, karcher_mean(states, weights)).item() > 1e-12
    stopped = karcher_mean(states, weights, max_iter=50, tol=1e-6)
    assert_close(stopped, karcher_mean(states, weights), atol=1e-5, rtol=0.0)


def test_longer_tensors_count_more_in_norm_mean():
    states = torch.tensor([[3.0, 4.0], [0.0, 1.0]])  # lengths 5 and 1
    merged = norm_mean(states, torch.tensor([[0.25], [0.75]]))
    assert_close(merged, (1.25 * states[0] + 0.75 * states[1]) / 2)
    assert norm_mean(torch.zeros(2, 2), torch.tensor([[0.25], [0.75]])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", WEIGHT_METHODS)
def test_every_method_declares_parameters_within_their_ranges(name):
    method = get_weight_method(name)
    assert method.thin is None or method.base == "needed"  # only task vectors are thinned
    for key, default in method.parameters.items():
        low, high = RANGES.get(key, (float("-inf"), float("inf")))
        assert low <= default <= high


def test_an_unknown_method_names_the_known_ones():
    with pytest.raises(
        ValueError, match="unknown merge method 'tie' of space 'weights'; choose from"
    ):
        get_weight_method("tie")

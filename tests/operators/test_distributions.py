"""What each way of making one distribution of several must give."""

import pytest
import torch
from torch.testing import assert_close

from lm_merge.operators.distributions import ENSEMBLE_METHODS, get_ensemble_method

HOST, DONOR = [0.7, 0.2, 0.1], [0.1, 0.6, 0.3]


def weights(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 1)


def probabilities(method: str, models: list[list[float]], *shares: float) -> torch.Tensor:
    logits = torch.tensor(models, dtype=torch.float64).log()
    logits = logits + torch.tensor([[3.0], [-7.0], [1.0]])[: len(models)]  # scale is no matter
    return get_ensemble_method(method)(logits, weights(*shares)).softmax(-1)


def expect(values: list[float], atol: float = 1e-9) -> dict:
    return {"expected": torch.tensor(values, dtype=torch.float64), "atol": atol, "rtol": 0.0}


def test_soft_is_the_mean_of_probabilities():
    # .25 x (.7, .2, .1) + .75 x (.1, .6, .3)
    assert_close(probabilities("soft", [HOST, DONOR], 0.25, 0.75), **expect([0.25, 0.5, 0.25]))


def test_mean_is_the_normalised_geometric_mean():
    # equal weights: square roots of (.07, .12, .03), divided by their sum
    roots = [0.07**0.5, 0.12**0.5, 0.03**0.5]
    expected = [root / sum(roots) for root in roots]
    assert_close(probabilities("mean", [HOST, DONOR], 0.5, 0.5), **expect(expected))


def test_majority_counts_heads_and_weighted_majority_weights():
    models = [HOST, DONOR, DONOR]  # heads say token 1; the host alone outweighs them
    assert_close(
        probabilities("majority", models, 0.8, 0.1, 0.1), **expect([1 / 3, 2 / 3, 0], 1e-5)
    )
    assert_close(
        probabilities("weighted_majority", models, 0.8, 0.1, 0.1), **expect([0.8, 0.2, 0], 1e-5)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tie_falls_to_the_larger_mean_probability(dtype):
    surer = torch.tensor([[0.45, 0.15, 0.40], [0.38, 0.39, 0.23]], dtype=dtype).log()
    for logits in (surer, surer.flip(0)):  # one vote each: mean .415 against .27
        for method in ("majority", "weighted_majority"):
            merged = ENSEMBLE_METHODS[method](logits, weights(0.5, 0.5).to(dtype))
            assert merged.argmax() == 0
            assert_close(
                merged.softmax(-1)[:2], torch.full((2,), 0.5, dtype=dtype), atol=1e-5, rtol=0
            )


def test_tokens_without_a_vote_keep_the_order_of_their_probability():
    p = probabilities("majority", [[0.6, 0.05, 0.15, 0.2], [0.5, 0.1, 0.35, 0.05]], 0.5, 0.5)
    assert p.argsort(descending=True).tolist() == [0, 2, 3, 1]
    assert p[1:].sum() < 2e-6


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ENSEMBLE_METHODS)
def test_contract(name, seed):
    method, generator = ENSEMBLE_METHODS[name], torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 4, 5, 11, generator=generator, dtype=torch.float64)
    shares = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64).view(3, 1, 1, 1)
    merged = method(logits, shares)
    assert merged.shape == (4, 5, 11)
    assert_close(method(logits.flip(0), shares.flip(0)), merged)  # the order of models is no matter
    turned = torch.randperm(11, generator=generator)
    assert_close(method(logits[..., turned], shares), merged[..., turned])  # nor that of tokens
    same = method(logits[:1].expand(3, -1, -1, -1), shares)  # a model with itself
    assert (same.argmax(-1) == logits[0].argmax(-1)).all()
    if name in ("soft", "mean"):
        assert_close(same, logits[0])
        alone = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(3, 1, 1, 1)
        assert_close(method(logits, alone), logits[0])  # its own logits, scale and all


@pytest.mark.parametrize("name", ENSEMBLE_METHODS)
def test_a_token_that_a_model_lacks(name):
    logits = torch.tensor([[2.0, 1.0, 0.5], [0.3, 1.0, -torch.inf]])
    both = ENSEMBLE_METHODS[name](logits, torch.tensor([[0.5], [0.5]]))
    host = ENSEMBLE_METHODS[name](logits, torch.tensor([[1.0], [0.0]]))
    assert torch.isfinite(host).all()
    assert not both.isnan().any()
    expected = 0.5 * logits[0].softmax(-1)[2] if name == "soft" else torch.zeros(())
    assert_close(both.softmax(-1)[2], expected, atol=1e-6, rtol=0)


def test_an_unknown_method_lists_the_known():
    with pytest.raises(ValueError, match="unknown method 'mode'; choose from soft, mean, majority"):
        get_ensemble_method("mode")

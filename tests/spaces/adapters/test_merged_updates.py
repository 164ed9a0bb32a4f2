"""Methods on updates against plain dense arithmetic."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lm_merge.models.adapters import Adapter
from lm_merge.models.adapters.settings import AdapterSettings
from lm_merge.operators.consensus import agreeing_sum
from lm_merge.operators.low_rank import LowRank
from lm_merge.operators.span import model_stock
from lm_merge.operators.sparse import keep_largest
from lm_merge.operators.spherical import karcher_mean, slerp
from lm_merge.spaces.adapters.merged_updates import MergedUpdates
from lm_merge.spaces.adapters.methods import ADAPTER_METHODS, get_adapter_method
from lm_merge.spaces.adapters.options import read_options
from lm_merge.spaces.adapters.transforms import read_steps

KEYS = ("layers.0.q", "layers.1.q")


def adapter(seed: int) -> Adapter:
    generator = torch.Generator().manual_seed(seed)

    def update() -> LowRank:
        a = torch.randn(3, 8, generator=generator)
        return LowRank(a, torch.randn(6, 3, generator=generator), 0.5 + seed)

    deltas = {key: update() for key in KEYS}
    settings = AdapterSettings(r=3, lora_alpha=3.0)
    return Adapter(f"a{seed}", Path(), settings, deltas, {}, {})


PARTS = [adapter(seed) for seed in range(3)]


def merged(operator: str, row, transforms=(), **arguments) -> MergedUpdates:
    method = get_adapter_method(operator)
    updates = MergedUpdates(
        PARTS[: len(row)], method, read_options(method, arguments), read_steps(transforms)
    )
    updates.rows = dict.fromkeys(KEYS, row)
    return updates


def dense(row) -> torch.Tensor:
    return torch.stack([part.deltas[KEYS[0]].dense() for part in PARTS[: len(row)]])


def column(row) -> torch.Tensor:
    return torch.tensor(row).view(-1, 1)


@pytest.mark.parametrize(
    ("operator", "function"),
    [("slerp", slerp), ("karcher", karcher_mean), ("model_stock", model_stock)],
)
def test_methods_by_angle_stay_low_rank_and_equal_the_dense_ones(operator, function):
    row = (1.2, 0.8)  # parts .6 and .4 of a total of 2
    updates = merged(operator, row)
    assert updates.is_low_rank
    expected = 2 * function(dense(row).flatten(1), column((0.6, 0.4))).view(6, 8)
    assert_close(updates.low_rank(KEYS[0]).dense(), expected, rtol=1e-4, atol=1e-4)


def test_ties_trims_elects_and_scales():
    row, density = (0.5, 0.25, 0.25), 0.3
    trimmed = torch.stack([keep_largest(one.flatten(), density=density) for one in dense(row)])
    expected = agreeing_sum(trimmed, column(row)).view(6, 8)
    assert_close(merged("ties", row, density=density).dense(KEYS[0]), expected)
    assert_close(merged("ties", (1.0, 0.5, 0.5), density=density).dense(KEYS[0]), 2 * expected)


def test_a_global_threshold_keeps_the_largest_over_all_modules():
    updates = merged("ties", (1.0,), density=0.25, trim="global")
    stacked = torch.cat([PARTS[0].deltas[key].dense().flatten() for key in KEYS])
    expected = keep_largest(stacked, density=0.25)
    found = torch.cat([updates.dense(key).flatten() for key in KEYS])
    assert_close(found, expected)
    assert int((found != 0).sum()) == 24


def test_random_masks_follow_the_seed_alone():
    one, same, other = (
        merged("dare_linear", (0.5, 0.5), density=0.5, seed=seed).dense(KEYS[0])
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_methods_without_thinning_are_the_sum():
    row = (0.7, -0.3)
    expected = torch.einsum("n,nij->ij", torch.tensor(row), dense(row))
    for operator in ("linear", "task_arithmetic"):
        assert_close(merged(operator, row).dense(KEYS[0]), expected)
    assert_close(merged("dare_linear", row, density=1.0).dense(KEYS[0]), expected)


def test_full_matrices_are_no_lora():
    with pytest.raises(ValueError, match="full matrices"):
        merged("ties", (0.5, 0.5)).low_rank(KEYS[0])
    with pytest.raises(ValueError, match="sum to 0"):
        merged("ties", (0.5, -0.5)).dense(KEYS[0])


def test_transforms():
    row = (0.5, 0.5)
    trim = [{"trim": {"density": 0.25}}]
    expected = torch.stack([keep_largest(one.flatten(), density=0.25) for one in dense(row)])
    assert_close(merged("linear", row, trim).dense(KEYS[0]), expected.mean(0).view(6, 8))
    equal = merged("linear", row, ["equal_norm"])
    assert equal.is_low_rank
    norms = [
        sum(float(equal.updates(key)[n].dense().square().sum()) for key in KEYS) for n in range(2)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


@pytest.mark.parametrize(
    ("transforms", "match"),
    [
        (["trimm"], "unknown transform 'trimm'; choose from"),
        (["trim"], "takes density; given are"),
        ([{"trim": {"density": 0}}], "outside 0..1"),
        (["identity", "equal_norm"], "must come first"),
    ],
)
def test_wrong_transforms_are_told(transforms, match):
    with pytest.raises(ValueError, match=match):
        merged("linear", (1.0,), transforms)


@pytest.mark.parametrize(
    ("operator", "arguments", "match"),
    [
        ("linear", {"density": 0.5}, "density: operator 'linear' takes no arguments"),
        ("ties", {"density": 1.5}, "outside 0..1"),
        ("ties", {"trim": "all"}, "trim='all'"),
        ("regmean", {}, "statistics of whole models"),
        ("tis", {}, "unknown operator 'tis'"),
    ],
)
def test_wrong_arguments_are_told(operator, arguments, match):
    with pytest.raises(ValueError, match=match):
        merged(operator, (0.5, 0.5), **arguments)


def test_every_method_runs_on_two_updates():
    for operator in ADAPTER_METHODS:
        if operator != "factor_mean":  # which needs one scale
            assert merged(operator, (0.5, 0.5)).dense(KEYS[0]).isfinite().all()

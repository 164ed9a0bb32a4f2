"""Closed forms and invariances of the metrics, and agreement with other ways to compute them."""

from math import pi

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lm_merge.metrics import (
    CKAFitter,
    MinibatchCKA,
    arc_deviation,
    arc_deviation_rad,
    arc_ratio,
    cka_within_texts,
    linear_cka,
    midness,
)
from lm_merge.operators import slerp
from lm_merge.statistics.clustered_means import ClusteredMean


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 6, 3, 16, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_slerp_at_alpha_has_arc_ratio_alpha(alpha):
    host, donor = pair()
    weights = torch.tensor([1 - alpha, alpha], dtype=torch.float64).view(2, 1, 1, 1)
    merged = slerp(torch.stack([host, donor]), weights)
    assert_close(arc_ratio(host, donor, merged), torch.full((6, 3, 1), alpha).double())
    away = torch.full((6, 3, 1), abs(alpha - 0.5)).double()
    assert_close(arc_deviation(host, donor, merged), away)


def test_arc_metrics_of_a_right_angle_by_hand():
    host, donor = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])
    merged = torch.tensor([1.0, 1.0])  # at 45 degrees: the midpoint
    assert_close(midness(host, donor, merged), torch.ones(1))
    assert_close(arc_ratio(host, donor, merged), torch.full((1,), 0.5))
    assert_close(arc_deviation_rad(host, donor, host), torch.full((1,), pi / 4))


def test_midness_ignores_length_and_rotation():
    host, donor = pair()
    rotation = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64)).Q
    merged = 0.3 * host + 0.7 * donor
    value = midness(host, donor, merged)
    assert_close(midness(2 * host, donor, 5 * merged), value)
    assert_close(midness(host @ rotation, donor @ rotation, merged @ rotation), value)


def test_arc_ratio_of_parallel_parents_is_undefined():
    host = torch.tensor([1.0, 2.0, 2.0])
    assert arc_ratio(host, host, host).isnan().all()


def gram_cka(x: torch.Tensor, y: torch.Tensor, *, debiased: bool) -> float:
    """Both estimators by their [n, n] definitions (Song et al. 2012, equations 4 and 5)."""
    n = len(x)

    def hsic(k: torch.Tensor, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
        if not debiased:
            centre = torch.eye(n, dtype=k.dtype) - 1 / n
            return (k @ centre @ l @ centre).trace()
        k, l = (m - m.diag().diag() for m in (k, l))  # noqa: E741
        product = k.sum() * l.sum() / ((n - 1) * (n - 2))
        return ((k @ l).trace() + product - 2 / (n - 2) * (k @ l).sum()) / (n * (n - 3))

    k, l = x @ x.T, y @ y.T  # noqa: E741
    return float(hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt())


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
@pytest.mark.parametrize("sizes", [[40], [7, 13, 20], [1] * 40])
def test_streamed_cka_is_that_of_the_gram_matrices(estimator, sizes):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64) + 3
    y = x[:, :4] ** 2 + torch.randn(40, 4, generator=generator, dtype=torch.float64)
    fitter = CKAFitter()
    for part_x, part_y in zip(x.split(sizes), y.split(sizes), strict=True):
        fitter.update(part_x, part_y)
    result = fitter.result()
    expected = gram_cka(x, y, debiased=estimator == "debiased")
    assert getattr(result, estimator) == pytest.approx(expected, abs=1e-9)
    assert result.n_rows == 40


def test_cka_ignores_rotation_scale_and_offset_and_is_one_with_itself():
    x = torch.randn(50, 8, dtype=torch.float64)
    y = torch.randn(50, 5, dtype=torch.float64) + x[:, :5]
    rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    for estimator in ("biased", "debiased"):
        value = linear_cka(x, y, estimator)
        assert linear_cka(y, x, estimator) == pytest.approx(value)
        assert linear_cka(3 * x @ rotation + 100, y, estimator) == pytest.approx(value)
        assert linear_cka(x, x, estimator) == pytest.approx(1.0)


def test_only_the_debiased_estimator_knows_independent_rows():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 64, 896, generator=generator)
    assert linear_cka(x, y, "biased") == pytest.approx(0.93, abs=0.01)
    assert abs(linear_cka(x, y, "debiased")) < 0.04


def test_cka_survives_a_huge_common_offset_in_float32():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 200, 16, generator=generator)
    offset = torch.zeros(16)
    offset[3] = 3000.0
    assert linear_cka(x + offset, y) == pytest.approx(linear_cka(x, y), abs=1e-3)


@pytest.mark.parametrize("sizes", [[90], [7, 13, 20, 50], [1] * 90])
def test_one_group_of_rows_gives_the_debiased_cka_of_all_of_them(sizes):
    x = torch.randn(90, 6, dtype=torch.float64) + 3
    y = torch.cat([x[:, :3] ** 2, torch.randn(90, 1, dtype=torch.float64)], dim=1)
    fitter = MinibatchCKA([("x", "y"), ("x", "x")], group_rows=90)
    for part_x, part_y in zip(x.split(sizes), y.split(sizes), strict=True):
        fitter.update({"x": part_x, "y": part_y, "not asked for": part_x})
    results = fitter.results()
    assert results["x", "y"].value == pytest.approx(gram_cka(x, y, debiased=True), abs=1e-9)
    assert results["x", "x"].value == pytest.approx(1.0)
    assert results["x", "y"].n_rows == 90
    assert np.isnan(results["x", "y"].standard_error)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_groups_of_rows_estimate_the_cka_of_all_rows_at_any_width(share):
    x = torch.randn(3000, 300) * torch.linspace(0.1, 3, 300)
    y = share * x + torch.randn(3000, 300)
    exact = linear_cka(x, y)
    fitter = MinibatchCKA([("x", "y")], group_rows=100)
    for part_x, part_y in zip(x.split(170), y.split(170), strict=True):
        fitter.update({"x": part_x, "y": part_y})
    result = fitter.results()["x", "y"]
    assert result.n_rows == 3000
    assert abs(result.value - exact) < 4 * result.standard_error
    assert result.standard_error < 0.02


def test_groups_of_rows_stand_a_huge_common_offset_in_float32():
    x, y = torch.randn(2, 200, 16)
    offset = torch.zeros(16)
    offset[3] = 3000.0
    values = []
    for rows in ({"x": x, "y": y}, {"x": x + offset, "y": y}):
        fitter = MinibatchCKA([("x", "y")], group_rows=50)
        fitter.update(rows)
        values.append(fitter.results()["x", "y"].value)
    assert values[0] == pytest.approx(values[1], abs=1e-3)


def test_what_waits_and_what_is_kept_does_not_grow_with_the_rows():
    fitter = MinibatchCKA([("x", "y")], group_rows=20)
    for n_updates in (10, 100):
        for _ in range(n_updates):
            x, y = torch.randn(2, 17, 8)
            fitter.update({"x": x, "y": y})
        held = sum(len(part["x"]) for part in fitter._held)
        assert 4 <= held <= 17 + 20 + 4
    assert fitter.results()["x", "y"].n_rows == 110 * 17


def test_cka_within_texts_is_the_biased_cka_of_each_text_without_padding():
    x, y = torch.randn(3, 9, 5), torch.randn(3, 9, 4)
    tokens = torch.arange(9) < torch.tensor([[9], [6], [1]])
    x[~tokens], y[~tokens] = torch.nan, 1e6
    values = cka_within_texts({"x": x, "y": y}, tokens, [("x", "y")])["x", "y"].squeeze(1)
    for row, n in enumerate((9, 6)):
        expected = linear_cka(x[row, :n], y[row, :n], "biased")
        assert values[row].item() == pytest.approx(expected, abs=1e-5)
    assert values[2].isnan()


def test_too_few_rows_have_no_cka_and_a_group_has_four():
    fitter = MinibatchCKA([("x", "y")])
    assert np.isnan(fitter.results()["x", "y"].value)
    fitter.update({"x": torch.randn(3, 2), "y": torch.randn(3, 2)})
    assert np.isnan(fitter.results()["x", "y"].value)
    with pytest.raises(ValueError, match="group_rows=3 must be at least 4"):
        MinibatchCKA([("x", "y")], group_rows=3)


def test_the_jackknife_error_is_the_spread_of_repeated_draws():
    generator = torch.Generator().manual_seed(0)
    values, errors = [], []
    for _ in range(60):
        x = torch.randn(420, 4, generator=generator, dtype=torch.float64)
        y = x + 2 * torch.randn(420, 4, generator=generator, dtype=torch.float64)
        fitter = MinibatchCKA([("x", "y")], group_rows=50)  # the last part is smaller
        for part_x, part_y in zip(x.split(50), y.split(50), strict=True):
            fitter.update({"x": part_x, "y": part_y})
        result = fitter.results()["x", "y"]
        assert (result.n_rows, result.n_parts) == (420, 8)
        values.append(result.value)
        errors.append(result.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("n_tokens", [10, 80])
def test_tokens_of_one_text_do_not_make_the_error_small(n_tokens):
    generator = torch.Generator().manual_seed(0)
    values, errors = [], []
    for _ in range(40):
        fitter = MinibatchCKA([("x", "y")], group_rows=50)
        for _ in range(8):  # updates of 8 texts whose tokens have most in common
            text = torch.randn(8, 1, 6, generator=generator)
            x = text + 0.3 * torch.randn(8, n_tokens, 6, generator=generator)
            y = x + torch.randn(8, 1, 6, generator=generator)
            fitter.update({"x": x.flatten(0, 1), "y": y.flatten(0, 1)})
        result = fitter.results()["x", "y"]
        values.append(result.value)
        errors.append(result.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)


def test_rows_that_wait_are_no_views_of_the_callers():
    rows, later = torch.randn(2, 10, 6), torch.randn(10, 6)
    expected, cka = (MinibatchCKA([("x", "y")]) for _ in range(2))
    expected.update({"x": rows[0].clone(), "y": rows[1].clone()})
    cka.update({"x": rows[0], "y": rows[1]})
    rows.copy_(later)
    assert cka.results()["x", "y"].value == expected.results()["x", "y"].value


def test_rows_of_one_update_have_no_error():
    fitter = MinibatchCKA([("x", "y")], group_rows=20)
    fitter.update({"x": torch.randn(200, 4), "y": torch.randn(200, 4)})
    assert np.isnan(fitter.results()["x", "y"].standard_error)


def test_cka_refuses_what_it_cannot_compute():
    rows = torch.randn(3, 4)
    with pytest.raises(ValueError, match="n=3 rows are too few for debiased CKA; give 4"):
        linear_cka(rows, rows)
    with pytest.raises(ValueError, match="choose from biased, debiased"):
        linear_cka(rows, rows, "unbiased")
    constant = torch.ones(5, 4)
    assert np.isnan(linear_cka(constant, torch.randn(5, 4), "biased"))


def test_clustered_mean_by_hand():
    # clusters (1, 3) and (5): mean 3, residual sums 4 - 2 * 3 = -2 and 5 - 3 = 2,
    # error sqrt(2 / 1 * (4 + 4)) / 3 = 4 / 3
    mean = ClusteredMean()
    mean.update(torch.tensor([[1.0, 3.0]]))
    mean.update(torch.tensor([[torch.nan, 5.0]]))
    result = mean.result()
    assert (result.value, result.n, result.n_clusters) == (3.0, 3, 2)
    assert result.standard_error == pytest.approx(4 / 3)


def test_clustered_mean_of_single_values_has_the_usual_standard_error():
    values = torch.randn(50, 1, dtype=torch.float64)
    mean = ClusteredMean()
    mean.update(values)
    usual = values.std().item() / 50**0.5
    assert mean.result().standard_error == pytest.approx(usual)

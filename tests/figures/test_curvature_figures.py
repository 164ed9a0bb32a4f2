"""Figures of the curvature analysis: traces, titles with units, what is left out."""

import math

import numpy as np
import pandas as pd
import pytest

from figures import (
    plot_curvature_by_layer,
    plot_curvature_by_token,
    plot_gap_and_bound,
    plot_tightness,
)
from figures.axes import log_axis


@pytest.fixture
def summary() -> pd.DataFrame:
    rows = [
        {"layer": layer, "metric": metric, "statistic": statistic, "value": 10.0**-layer}
        for layer in range(3)
        for metric in ("k_g", "sq_distance", "head_mismatch_nats")
        for statistic in ("mean", "median", "max")
    ]
    rows.append({"layer": 2, "metric": "k_g_closed_form", "statistic": "mean", "value": 0.5})
    table = pd.DataFrame(rows).assign(alpha=math.nan, n=40)
    return table.assign(low=table.value / 2, high=2 * table.value)


@pytest.fixture
def tokens() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    n = 2 * 2 * 30
    return pd.DataFrame(
        {
            "layer": np.repeat([3, 7], n // 2),
            "alpha": np.tile([0.25, 0.5], n // 2),
            "position": np.repeat(np.tile(np.arange(30), 2), 2),
            "token": "a<b ",
            "bound_nats": generator.uniform(0.5, 2.0, n),
            "gap_nats": generator.uniform(-0.5, 0.5, n),
            "curvature_nats": np.repeat(np.r_[0.0, np.full(59, 2.0)], 2),
            "k_g": 0.1,
            "float_error_nats": 1e-4,
        }
    )


def test_curvature_has_a_panel_per_quantity_with_its_unit(summary):
    figure = plot_curvature_by_layer(summary)
    axes = [axis for axis in figure.select_yaxes() if axis.title.text]
    assert [axis.title.text for axis in axes] == ["nats / squared norm", "squared norm", "nats"]
    assert [axis.type for axis in axes] == ["log", "log", None]
    assert "n = 40 tokens" in figure.layout.title.subtitle.text
    assert len(figure.data) == 3 * 2 + 1
    assert sorted(trace.name for trace in figure.data if trace.showlegend is not False) == [
        "closed form, mean",
        "mean",
        "median",
    ]
    with pytest.raises(ValueError, match="head_mismatch_nats"):
        plot_curvature_by_layer(summary.assign(alpha=0.5))


def test_a_median_of_zero_leaves_the_legend_to_a_panel_that_shows_it(summary):
    of_median = (summary.metric == "k_g") & (summary.statistic == "median")
    figure = plot_curvature_by_layer(summary.assign(value=summary.value.mask(of_median, 0.0)))
    (entry,) = [one for one in figure.data if one.name == "median" and one.showlegend is not False]
    assert len(entry.x) == 3


def test_log_axes_span_five_decades_at_most_and_leave_out_what_is_not_positive():
    low, high = log_axis([0.0, -1.0, 1e-9, 100.0])["range"]
    assert low == pytest.approx(-3.35)
    assert high == pytest.approx(2.35)
    assert log_axis([3.0, 9.0])["dtick"] == "D2"
    assert log_axis([0.0]) == {"type": "log"}


def test_gaps_are_drawn_against_bounds_with_the_identity(tokens):
    figure = plot_gap_and_bound(tokens)  # the middle of two alphas is the upper one
    assert figure.layout.title.text.endswith("α = 0.5")
    of_alpha = tokens[tokens.alpha == 0.5]
    n_not_positive = (of_alpha.gap_nats <= 0).sum()
    subtitle = figure.layout.title.subtitle.text
    assert f"{n_not_positive} not shown: {n_not_positive} without a positive gap" in subtitle
    *blocks, identity = figure.data
    assert [trace.name for trace in blocks] == ["block 3", "block 7"]
    assert sum(len(trace.x) for trace in blocks) == (of_alpha.gap_nats > 1e-4).sum()
    assert list(identity.x) == list(identity.y)
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    with pytest.raises(ValueError, match="alpha=0.9 is not in the table"):
        plot_gap_and_bound(tokens, alpha=0.9)


def test_every_point_that_is_not_drawn_is_counted_with_its_reason(tokens):
    of_alpha = tokens[tokens.alpha == 0.5].index
    tokens["gap_nats"] = 0.5
    tokens.loc[of_alpha[:2], "gap_nats"] = [0.0, -0.1]
    tokens.loc[of_alpha[2:4], ["gap_nats", "bound_nats"]] = [[5e-5, 1.0], [5e-5, 5e-5]]
    tokens.loc[of_alpha[4:6], ["gap_nats", "bound_nats"]] = [[2e-4, 1.0], [500.0, 600.0]]
    figure = plot_gap_and_bound(tokens)
    assert (
        "60 (token, block) pairs, 5 not shown: 2 without a positive gap and bound, "
        "3 too small for the axes<br>" in figure.layout.title.subtitle.text
    )
    lowest = [10 ** axis.range[0] for axis in (figure.layout.xaxis, figure.layout.yaxis)]
    drawn = [point for one in figure.data[:2] for point in zip(one.x, one.y, strict=True)]
    assert len(drawn) == 55
    assert all(x >= lowest[0] and y >= lowest[1] for x, y in drawn)


def test_points_thinned_out_are_counted(tokens, monkeypatch):
    monkeypatch.setattr("figures.gap_and_bound.MOST_POINTS", 25)
    figure = plot_gap_and_bound(tokens.assign(gap_nats=0.5))
    assert sum(len(trace.x) for trace in figure.data[:2]) == 20
    assert "40 not shown: 40 thinned out evenly" in figure.layout.title.subtitle.text


def test_tightness_shows_the_last_block_beside_the_earlier_ones(tokens):
    tokens.loc[tokens.index[1], "bound_nats"] = 1e-6
    figure = plot_tightness(tokens)
    assert [trace.name for trace in figure.data] == ["earlier blocks", "last block drawn, 7"]
    assert sum(len(trace.x) for trace in figure.data) == 59
    assert "1 with a bound below float error left out" in figure.layout.title.subtitle.text
    assert min(map(min, (trace.x for trace in figure.data))) >= -1


def test_a_broken_bound_is_drawn_in_the_last_bin_and_counted(tokens):
    tokens.loc[tokens.index[[1, 3, 5]], ["gap_nats", "bound_nats"]] = [[9, 1], [1.5, 1], [-9, 1]]
    figure = plot_tightness(tokens)
    bins, values = figure.data[0].xbins, np.concatenate([trace.x for trace in figure.data])
    assert ((values >= bins.start) & (values < bins.end)).all()
    assert (values >= bins.end - bins.size).sum() == 2
    assert figure.layout.xaxis.range[1] >= bins.end
    subtitle = figure.layout.title.subtitle.text
    assert "first bin: 1 of −1 and less · last bin: 2 of 1.1 and more" in subtitle


def test_the_strip_leaves_convex_tokens_blank_and_shows_white_space(tokens):
    figure = plot_curvature_by_token(tokens)
    (heat,) = figure.data
    grid = np.array(heat.z, dtype=float)
    assert grid.shape == (2, 30)
    assert np.isnan(grid[0, 0])
    assert grid[1, 5] == pytest.approx(math.log10(2.0))
    assert figure.layout.xaxis.ticktext[0] == "a&lt;b·"
    assert "n = 30 tokens of one text" in figure.layout.title.subtitle.text

import math

import numpy as np
import pandas as pd
import pytest

from figures import plot_arc_ratio_by_alpha, plot_similarity_by_layer
from figures.axes import MINIMUM_SPAN


def titles(figure) -> list[str]:
    return [axis.title.text for axis in figure.select_yaxes()]


def named(figure, name: str) -> list:
    return [trace for trace in figure.data if trace.name == name]


def test_similarity_has_a_panel_per_metric_with_units(similarity):
    figure = plot_similarity_by_layer(similarity, merged_layers=(1, 3))
    assert figure.layout.title.text == "Similarity by block: slerp in latents"
    subtitle = figure.layout.title.subtitle.text
    assert "n = 1,024 tokens" in subtitle
    assert "mean, 95 % interval by text" in subtitle
    assert "merged blocks 1, 3" in subtitle
    assert titles(figure) == [
        "cosine with the midpoint",
        "0 = host, 1 = donor",
        "angle (rad)",
        *["debiased CKA (0 to 1)"] * 3,
    ]
    assert {axis.title.text for axis in figure.select_xaxes()} == {"block (from 0)"}
    assert len(figure.data) == 5 * 2 + 1  # two alphas, but one curve between host and donor
    assert len(figure.layout.shapes) == 2 * 6


def test_legend_names_each_alpha_once_in_increasing_order(similarity):
    figure = plot_similarity_by_layer(similarity)
    in_legend = [trace.name for trace in figure.data if trace.showlegend]
    assert in_legend == ["α = 0.25", "α = 0.75"]


def test_host_donor_curves_that_differ_are_all_drawn(similarity):
    moved = (similarity["metric"] == "cka_debiased_host_donor") & (similarity["alpha"] == 0.75)
    similarity.loc[moved, "value"] += 0.1
    assert len(plot_similarity_by_layer(similarity).data) == 6 * 2


def test_undefined_values_leave_gaps_and_undefined_errors_no_bar(similarity):
    figure = plot_similarity_by_layer(similarity)
    ratio = named(figure, "α = 0.75")[1]
    assert math.isnan(ratio.y[0])
    assert np.isfinite(ratio.y[1:]).all()
    assert not ratio.connectgaps
    assert ratio.error_y.array == pytest.approx([0.0, 0.02, 0.02, 0.02])  # no bar without a value
    assert named(figure, "α = 0.75")[3].error_y.array == pytest.approx([0.0] * 4)


def test_lines_are_drawn_in_order_of_the_blocks(similarity):
    figure = plot_similarity_by_layer(similarity.sample(frac=1, random_state=0))
    assert list(named(figure, "α = 0.25")[0].x) == [0, 1, 2, 3]


def test_operator_sets_the_colour_and_space_the_dash(similarity):
    others = similarity.assign(operator="lerp", space="weights")
    figure = plot_similarity_by_layer(pd.concat([similarity, others]))
    slerp = named(figure, "slerp latents α = 0.25")[0]
    lerp = named(figure, "lerp weights α = 0.25")[0]
    assert (slerp.line.dash, lerp.line.dash) == ("solid", "dash")
    assert slerp.line.color != lerp.line.color


def test_absent_metrics_have_no_panel(similarity):
    figure = plot_similarity_by_layer(similarity.loc[similarity["metric"] == "midness"])
    assert titles(figure) == ["cosine with the midpoint"]
    rows = similarity.loc[similarity["metric"] == "cka_debiased_host_donor"]
    with pytest.raises(ValueError, match="cka_biased_host_donor"):
        plot_similarity_by_layer(rows, cka_estimator="biased")


def test_rounding_is_not_magnified(similarity):
    flat = similarity.loc[similarity["metric"] == "midness"]
    figure = plot_similarity_by_layer(flat.assign(value=1 - 1e-9, low=math.nan, high=math.nan))
    low, high = figure.layout.yaxis.range
    assert high - low == pytest.approx(MINIMUM_SPAN)


@pytest.mark.parametrize("column", ["layer", "alpha", "operator", "value", "low", "high", "n"])
@pytest.mark.parametrize("plot", [plot_similarity_by_layer, plot_arc_ratio_by_alpha])
def test_missing_column_is_named(similarity, plot, column):
    with pytest.raises(ValueError, match=rf"lacks the column\(s\) {column};"):
        plot(similarity.drop(columns=column))


def test_repeated_rows_are_refused(similarity):
    with pytest.raises(ValueError, match="more than one row for metric='midness'"):
        plot_similarity_by_layer(pd.concat([similarity, similarity]))


def test_arc_ratio_has_a_line_per_block_and_the_identity(similarity):
    figure = plot_arc_ratio_by_alpha(similarity)
    assert figure.layout.title.text == "Arc ratio by alpha: slerp in latents"
    assert "n = 1,024 tokens" in figure.layout.title.subtitle.text
    assert figure.layout.xaxis.title.text == "α, weight of the donor (0 to 1)"
    assert figure.layout.yaxis.title.text == "arc ratio (0 = host, 1 = donor)"
    identity, *lines = figure.data
    assert (list(identity.x), list(identity.y), identity.line.dash) == ([0, 1], [0, 1], "dash")
    assert [line.name for line in lines] == ["block 0", "block 1", "block 2", "block 3"]
    assert list(lines[1].x) == [0.25, 0.75]
    assert lines[1].y == pytest.approx([0.20, 0.70])
    assert np.isnan(lines[0].y).all()


def test_arc_ratio_of_chosen_blocks(similarity):
    figure = plot_arc_ratio_by_alpha(similarity, layers=[1, 3])
    assert [trace.name for trace in figure.data[1:]] == ["block 1", "block 3"]
    with pytest.raises(ValueError, match=r"layers=\[9\].*\[0, 1, 2, 3\]"):
        plot_arc_ratio_by_alpha(similarity, layers=[1, 9])


def test_many_blocks_get_a_colour_bar_on_the_scale_of_their_values(similarity):
    ratios = similarity.loc[similarity["metric"] == "arc_ratio"]
    many = pd.concat([ratios.assign(layer=layer + ratios["layer"]) for layer in (0, 4, 20)])
    figure = plot_arc_ratio_by_alpha(many)
    scale = named(figure, "block scale")[0]
    assert list(scale.marker.color) == [0, 23]
    assert [trace.name for trace in figure.data if trace.showlegend] == ["arc ratio = α (slerp)"]
    colors = {trace.name: trace.line.color for trace in figure.data}
    near = [tuple(map(float, colors[f"block {b}"][4:-1].split(","))) for b in (7, 20, 23)]
    assert math.dist(near[0], near[1]) > 2 * math.dist(near[1], near[2])

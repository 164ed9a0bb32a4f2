import numpy as np
import pandas as pd
import pytest

from figures import plot_layerwise_heatmap, plot_layerwise_lines, plot_signal_ranks

OPERATORS = ("lerp", "slerp", "regmean")


@pytest.fixture
def layerwise():
    rows = []
    for metric, sign in (("loss_answer", 1), ("accuracy", -1)):
        for place, operator in enumerate(OPERATORS):
            for layer in (0, 5, 7):
                for alpha in (0.25, 0.75):
                    value = 0.5 + sign * (abs(layer - 5) + alpha + place) / 20
                    rows.append((layer, alpha, operator, metric, value))
    table = pd.DataFrame(rows, columns=["layer", "alpha", "operator", "metric", "value"])
    return table.assign(space="latents", low=table.value - 0.1, high=table.value + 0.2, n=40)


def test_heat_maps_share_a_scale_and_frame_the_best_cell_of_each(layerwise):
    figure = plot_layerwise_heatmap(layerwise.sample(frac=1, random_state=0), "loss_answer")
    assert figure.layout.title.text == "Loss on the right answers by merged block"
    subtitle = figure.layout.title.subtitle.text
    assert "n = 40 tokens a cell" in subtitle
    assert "regmean: α = 1/(1+λ), where it equals lerp" in subtitle
    assert len(figure.data) == 3
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert figure.layout.coloraxis.colorbar.title.text == "loss (nats/token)"
    titles = [axis.title.text for axis in figure.select_xaxes()]
    assert titles == [None, "merged block (from 0)", None]  # once, so that narrow maps have room
    assert figure.layout.yaxis.title.text == "α, weight of the donor"
    frames = figure.layout.shapes
    assert len(frames) == 3
    assert {(frame.x0, frame.y0) for frame in frames} == {(0.5, -0.5)}  # block 5, alpha 0.25
    lerp = next(
        t
        for t, a in zip(figure.data, figure.layout.annotations, strict=True)
        if a.text == "<b>lerp</b>"
    )
    assert np.asarray(lerp.z)[0] == pytest.approx([0.7625, 0.5125, 0.6125])


def test_the_best_accuracy_is_the_highest_and_counts_questions(layerwise):
    figure = plot_layerwise_heatmap(layerwise, "accuracy")
    assert "n = 40 questions a cell" in figure.layout.title.subtitle.text
    assert {(frame.x0, frame.y0) for frame in figure.layout.shapes} == {(0.5, -0.5)}


def test_a_map_of_undefined_values_has_no_frame(layerwise):
    figure = plot_layerwise_heatmap(layerwise.assign(value=np.nan), "loss_answer")
    assert len(figure.layout.shapes) == 0


def test_lines_have_a_panel_an_alpha_and_unequal_intervals(layerwise):
    figure = plot_layerwise_lines(layerwise, "accuracy")
    assert figure.layout.title.text == "Accuracy of generated answers by merged block"
    assert "n = 40 questions a point · bars: 95 % intervals" in figure.layout.title.subtitle.text
    assert len(figure.data) == 3 * 2
    assert [trace.name for trace in figure.data if trace.showlegend] == list(OPERATORS)
    assert [note.text for note in figure.layout.annotations] == [
        "<b>α = 0.25</b>",
        "<b>α = 0.75</b>",
    ]
    assert figure.layout.yaxis.title.text == "accuracy (share)"
    bars = figure.data[0].error_y
    assert bars.array == pytest.approx([0.2] * 3)
    assert bars.arrayminus == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("plot", [plot_layerwise_heatmap, plot_layerwise_lines])
def test_unknown_metrics_missing_columns_and_repeated_rows_are_refused(layerwise, plot):
    with pytest.raises(ValueError, match="'k_g' cannot be drawn; the table has: loss_answer, acc"):
        plot(layerwise, "k_g")
    with pytest.raises(ValueError, match=r"lacks the column\(s\) low;"):
        plot(layerwise.drop(columns="low"), "accuracy")
    with pytest.raises(ValueError, match="more than one row"):
        plot(pd.concat([layerwise, layerwise]), "accuracy")


def test_signal_ranks_draw_all_alphas_together_only():
    rows = [
        (signal, outcome, alpha, 0.5, 0.2, 0.9, 30)
        for signal in ("distance", "bound")
        for outcome in ("loss_answer", "accuracy")
        for alpha in (np.nan, 0.5)
    ]
    columns = ["signal", "outcome", "alpha", "spearman", "low", "high", "n"]
    table = pd.DataFrame(rows, columns=columns)
    figure = plot_signal_ranks(table)
    assert len(figure.data) == 2
    assert [shape.yref for shape in figure.layout.shapes] == ["y domain", "y2 domain"]
    assert list(figure.data[0].y) == ["distance", "bound"]
    assert figure.data[0].error_x.array == pytest.approx([0.4, 0.4])
    assert "n = 30 merges" in figure.layout.title.subtitle.text
    assert [note.text for note in figure.layout.annotations] == [
        "<b>loss on right answers</b>",
        "<b>accuracy</b>",
    ]
    with pytest.raises(ValueError, match="no row over all alphas"):
        plot_signal_ranks(table.dropna())


def test_merges_of_whole_models_are_level_lines_beside_the_grid(layerwise):
    whole = layerwise[(layerwise.layer == 5) & (layerwise.operator == "lerp")]
    both = pd.concat([layerwise, whole.assign(layer=None, space="weights")], ignore_index=True)
    both["layer"] = both.layer.astype("Int64")
    figure = plot_layerwise_lines(both, "accuracy")
    levels = [trace for trace in figure.data if trace.name == "lerp in weights"]
    assert len(levels) == 2  # a panel each
    for trace, alpha in zip(levels, (0.25, 0.75), strict=True):
        value = whole[(whole.metric == "accuracy") & (whole.alpha == alpha)].value.item()
        assert list(trace.y) == [value, value]
        assert trace.x[0] == 0
        assert 7 < trace.x[1] < figure.layout.xaxis.range[1]
        assert trace.line.dash == "dash"
        assert trace.error_y.array == pytest.approx((0.0, 0.2))
    assert max(figure.layout.xaxis.tickvals) == 7  # no tick where no block is
    assert "level: whole models" in figure.layout.title.subtitle.text
    assert len(plot_layerwise_heatmap(both, "accuracy").data) == 3

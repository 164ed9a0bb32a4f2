import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from figures import plot_accuracy_by_category, plot_accuracy_forest, plot_residual_paths
from figures.label_layout import LabelBox, spread_vertically
from figures.template import DONOR_COLOR, GREY, HOST_COLOR, MERGED_COLOR


def test_paths_have_one_line_per_stream_and_shares_in_percent(paths):
    figure = plot_residual_paths(paths)
    assert figure.layout.title.text == "Mean residual stream over depth"
    assert figure.layout.xaxis.title.text == "principal component 1 (71.2 % of variance)"
    assert figure.layout.yaxis.title.text == "principal component 2 (14.3 % of variance)"
    colors = {trace.name: trace.line.color for trace in figure.data}
    assert colors == {"host": HOST_COLOR, "merged 0.5": MERGED_COLOR, "donor": DONOR_COLOR}
    assert list(figure.data[0].customdata) == [0, 1, 2]


def test_paths_label_both_ends_and_join_labels_that_coincide(paths):
    labels = plot_residual_paths(paths).layout.annotations
    # All three start in one point; host and merged end in nearly one.
    found = {(label.text, label.font.color) for label in labels}
    assert found == {("block 0", GREY), ("block 2", GREY), ("block 2", DONOR_COLOR)}
    assert len(labels) == 3


def test_path_with_an_undefined_point_keeps_the_gap_and_labels_defined_ends(paths):
    paths.loc[(paths["stream"] == "donor") & (paths["layer"] == 2), ["pc1", "pc2"]] = math.nan
    figure = plot_residual_paths(paths)
    assert math.isnan(figure.data[2].x[2])
    assert "block 1" in {label.text for label in figure.layout.annotations}


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_labels_that_wish_one_place_end_without_overlap(n):
    boxes = [LabelBox(0.1 * index, 50.0, 60.0, 18.0) for index in range(n)]
    heights = spread_vertically(boxes)
    assert all(abs(one - other) >= 18 for one, other in combinations(heights, 2))
    assert np.mean(heights) == pytest.approx(50.0)


def test_labels_with_room_stay():
    boxes = [LabelBox(0, 0, 60, 18), LabelBox(70, 0, 60, 18), LabelBox(0, 20, 60, 18)]
    assert spread_vertically(boxes) == [0, 0, 20]


@pytest.mark.parametrize("column", ["stream", "layer", "pc2", "explained_frac_2"])
def test_paths_name_a_missing_column(paths, column):
    with pytest.raises(ValueError, match=rf"lacks the column\(s\) {column};"):
        plot_residual_paths(paths.drop(columns=column))


def test_accuracy_in_percent_with_its_interval(accuracy):
    figure = plot_accuracy_by_category(accuracy)
    assert figure.layout.title.text == "Accuracy by category"
    assert figure.layout.yaxis.title.text == "accuracy (%)"
    assert "n = 98–154 questions" in figure.layout.title.subtitle.text
    assert "95 % Wilson interval" in figure.layout.title.subtitle.text
    assert [trace.name for trace in figure.data] == ["merged slerp", "host", "donor"]
    merged, host, donor = figure.data
    assert merged.y == pytest.approx([60.0, 60.0])
    assert merged.error_y.array == pytest.approx([5.0, 5.0])
    assert merged.error_y.arrayminus == pytest.approx([10.0, 10.0])
    colors = (merged.marker.color, host.marker.color, donor.marker.color)
    assert colors == (MERGED_COLOR, HOST_COLOR, DONOR_COLOR)
    assert list(figure.layout.xaxis.categoryarray) == [
        "Reasoning<br>n = 98",
        "Knowledge<br>n = 154",
    ]


def test_the_n_of_all_categories_together_is_named_apart(accuracy):
    overall = accuracy.drop_duplicates("system").assign(category="Overall", n=252)
    for plot in (plot_accuracy_by_category, plot_accuracy_forest):
        table = pd.concat([accuracy, overall]).assign(operator="", space="")
        words = plot(table).layout.title.subtitle.text
        unit = "answers" if plot is plot_accuracy_forest else "questions"
        assert f"n = 98–154 {unit} per category, 252 overall" in words


def test_undefined_accuracy_stays_undefined(accuracy):
    accuracy.loc[0, ["accuracy_frac", "low", "high"]] = math.nan
    merged = plot_accuracy_by_category(accuracy).data[0]
    assert math.isnan(merged.y[0])
    assert merged.y[1] == pytest.approx(60.0)


def test_percent_in_place_of_a_share_is_refused(accuracy):
    with pytest.raises(ValueError, match=r"accuracy_frac=60 is outside 0\.\.1"):
        plot_accuracy_by_category(accuracy.assign(accuracy_frac=60.0))


@pytest.mark.parametrize("column", ["system", "category", "accuracy_frac", "low", "high", "n"])
def test_accuracy_names_a_missing_column(accuracy, column):
    with pytest.raises(ValueError, match=rf"lacks the column\(s\) {column};"):
        plot_accuracy_by_category(accuracy.drop(columns=column))


def test_empty_table_is_refused(accuracy):
    with pytest.raises(ValueError, match="no rows"):
        plot_accuracy_by_category(pd.DataFrame(accuracy.head(0)))

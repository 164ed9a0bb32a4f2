"""Figures of a decomposition on small tables."""

import pandas as pd
import pytest

from figures import plot_decomposition_published, plot_importance_histogram


def test_a_histogram_counts_every_importance_of_all_seeds():
    table = pd.DataFrame(
        {"seed": [0, 0, 1, 1], "layer": ["a", "a", "a", "b"], "importance": [0.0, 1.0, 0.02, 0.5]}
    )
    figure = plot_importance_histogram(table)
    first, second = figure.data
    assert (first.y[0], first.y[-1], sum(first.y)) == (2, 1, 3)
    assert sum(second.y) == second.y[10] == 1
    assert "n = 2 seeds" in figure.layout.title.subtitle.text


def test_published_values_stand_next_to_ours_with_the_seeds_that_failed():
    table = pd.DataFrame(
        {
            "experiment": "tms_5-2",
            "metric": ["mmcs", "ml2r", "other"],
            "published_mean": [1.0, 0.993, None],
            "published_sd": [0.0, None, None],
            "mean": [0.998, 0.997, 3.0],
            "sd": [0.006, 0.002, 1.0],
            "n_seeds": 10,
            "n_not_solved": 1,
        }
    )
    figure = plot_decomposition_published(table)
    assert [trace.y[0] for trace in figure.data] == [0.998, 1.0, 0.997, 0.993]
    assert list(figure.data[3].error_y.array) == [0.0]
    assert "n = 10 seeds, 1 not solved" in figure.layout.title.subtitle.text
    with pytest.raises(ValueError, match="no published value"):
        plot_decomposition_published(table.assign(published_mean=float("nan")))

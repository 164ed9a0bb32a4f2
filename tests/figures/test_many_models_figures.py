"""Figures of many models for one target: what is drawn, from tables made here."""

import numpy as np
import pandas as pd
import pytest

from figures import (
    plot_gains_by_target,
    plot_rounds_curves,
    plot_similarity_against_transfer,
    plot_transfer_heatmap,
    plot_weights_by_source,
)

LOCALES = ("de-DE", "nl-NL", "fi-FI")


def pairs() -> pd.DataFrame:
    rows = [
        {"source": one, "target": other, "accuracy_frac": 0.9 if one == other else 0.1 * place}
        for one in LOCALES
        for place, other in enumerate(LOCALES)
    ]
    return pd.DataFrame(rows).assign(low=0.0, high=1.0, n=20, similarity=0.5)


def test_the_heat_map_has_a_row_a_source_and_a_column_a_target():
    figure = plot_transfer_heatmap(pairs())
    assert np.allclose(figure.data[0].z[0], [90, 10, 20])
    assert tuple(figure.data[0].y) == LOCALES
    assert "n = 20 texts a cell" in figure.layout.title.subtitle.text
    with pytest.raises(ValueError, match="more than one row"):
        plot_transfer_heatmap(pd.concat([pairs(), pairs()]))


def test_gains_are_against_the_reference_in_points():
    table = pd.DataFrame(
        [("a", "t", 0.5), ("a", "u", 0.6), ("b", "t", 0.6), ("b", "u", 0.6), ("c", "t", 0.1)]
        + [("c", "u", 0.2)],
        columns=["system", "target", "accuracy_frac"],
    )
    figure = plot_gains_by_target(table, "a")
    assert [trace.y[0] for trace in figure.data[:2]] == ["b", "c"]  # the best first
    assert np.allclose(figure.data[0].x, [10, 0])
    assert np.allclose(figure.data[-1].x, [5, -40])


def test_a_gap_where_a_source_was_not_chosen():
    table = pd.DataFrame(
        {"target": ["x", "x", "y"], "source": ["a", "b", "a"], "weight": [0.7, 0.3, 1.0]}
    ).assign(similarity=0.5)
    figure = plot_weights_by_source(table)
    assert figure.data[0].z[0].tolist() == [0.7, 0.3]
    assert np.isnan(figure.data[0].z[1][1])
    assert figure.data[0].colorbar.title.side == "top"  # at the right it touches the tick labels


def test_the_correlation_stands_in_the_subtitle():
    found = pd.DataFrame([{"target": "mean", "spearman": 0.49, "low": 0.3, "high": 0.6}])
    figure = plot_similarity_against_transfer(pairs(), found)
    assert "0.49 [0.30, 0.60]" in figure.layout.title.subtitle.text
    assert len(figure.data[0].x) == 9


def test_merges_that_were_given_back_are_marked():
    monitor = pd.DataFrame(
        {
            "epoch": [1, 2, 1, 2],
            "locale": ["a", "a", "b", "b"],
            "dev_accuracy": [0.1, 0.2, 0.3, 0.4],
        }
    )
    merges = pd.DataFrame({"epoch": [1, 2], "accepted": [True, False]})
    figure = plot_rounds_curves(monitor, merges)
    assert [trace.name for trace in figure.data] == ["a", "b"]
    assert len(figure.layout.shapes) == 1

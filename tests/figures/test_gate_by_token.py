"""The strip of alphas over a text."""

import numpy as np
import pandas as pd
import pytest

from figures import plot_gate_by_token


def table() -> pd.DataFrame:
    rows = [
        {"layer": layer, "position": i, "token": token, "alpha": 0.1 * i}
        for layer in (5, 3)
        for i, token in enumerate(["<think>", " a", "\n"])
    ]
    rows[1]["alpha"] = np.nan
    return pd.DataFrame(rows)


def test_one_strip_a_block_from_host_to_donor():
    figure = plot_gate_by_token(table())
    (strip,) = figure.data
    assert list(strip.y) == ["block 3", "block 5"]
    assert (strip.zmin, strip.zmax) == (0, 1)
    assert np.isnan(strip.z[1][1])
    assert strip.z[0][2] == pytest.approx(0.2)
    assert figure.layout.xaxis.title.text == "token"
    assert "n = 3 tokens" in figure.layout.title.subtitle.text


def test_tokens_are_shown_as_text_and_not_as_html():
    figure = plot_gate_by_token(table())
    assert list(figure.layout.xaxis.ticktext) == ["&lt;think&gt;", "·a", "⏎"]


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="alpha"):
        plot_gate_by_token(table().drop(columns="alpha"))

"""Figures with sliders, tokens and space, in a browser: what they show is what the tables say."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from plotly_page import (
    bar_hover_texts,
    hover_texts,
    marker_hover_texts,
    move_slider,
    numbers,
    slider_label,
    trace_data,
)

from analyses.similarity import analysis as similarity
from analyses.similarity.config import SimilarityConfig
from analyses.tokens import analysis as tokens
from analyses.tokens.config import TokensConfig
from figures import (
    plot_gate_by_token,
    plot_judge_agreement,
    plot_judge_consistency,
    plot_layers_by_alpha,
    plot_layerwise_heatmap,
    plot_next_tokens,
    plot_residual_paths_3d,
    plot_token_probabilities,
    plot_win_rates,
    save_figure,
)

ALPHAS = (0.25, 0.5, 0.75)

pytestmark = pytest.mark.slow  # Chromium starts, and lays out large figures


@pytest.fixture(scope="module")
def of_tokens() -> dict[str, pd.DataFrame]:
    return tokens.run(TokensConfig(max_new_tokens=6))


@pytest.fixture(scope="module")
def of_similarity() -> dict[str, pd.DataFrame]:
    return similarity.run(SimilarityConfig(n_prompts=4, alphas=ALPHAS))


def saved(figure, table, tmp_path):
    save_figure(figure, table, tmp_path, "figure", formats=("html",))
    return tmp_path / "figure.html"


def test_slider_over_alpha_shows_the_table_at_every_step(of_similarity, open_page, tmp_path):
    table = of_similarity["similarity"].query("space == 'latents'")
    page = open_page(saved(plot_layers_by_alpha(table, "midness"), table, tmp_path))
    shown = {}
    for step in (2, 0, 1):
        move_slider(page, step, len(ALPHAS))
        assert slider_label(page) == f"alpha = {ALPHAS[step]:g}"
        rows = table[(table.metric == "midness") & np.isclose(table.alpha, ALPHAS[step])]
        rows = rows.sort_values("layer")
        [trace] = trace_data(page, "x", "y", "customdata", "error_y.array")
        shown[step] = trace["y"]
        assert trace["x"] == rows.layer.tolist()
        assert_allclose(numbers(trace["y"]), rows.value)
        assert trace["customdata"] == rows.n.tolist()
        assert_allclose(
            numbers(trace["error_y.array"]), (rows.high - rows.value).fillna(0), atol=1e-12
        )
        last = rows.iloc[-1]
        [text] = hover_texts(page, 0, len(rows) - 1)
        assert f"block {last.layer}: {last.value:.4g}" in text
        assert f"n = {last.n:,}" in text
    assert shown[0] != shown[2]  # the slider does something


def test_slider_over_tokens_shows_the_candidates_of_each_position(of_tokens, open_page, tmp_path):
    table = of_tokens["next_tokens"]
    page = open_page(saved(plot_next_tokens(table), table, tmp_path))
    positions = sorted(table.position.unique())
    for step in (0, len(positions) - 1, 1):
        move_slider(page, step, len(positions))
        assert slider_label(page).startswith(f"after {positions[step]}")
        here = table[table.position == positions[step]]
        for trace in trace_data(page, "name", "x"):
            expected = here[here.system == trace["name"]].probability
            assert_allclose(sorted(numbers(trace["x"])), sorted(expected), rtol=1e-6)
    [first, *_] = trace_data(page, "x", "name")
    assert f"{first['x'][0]:.4f}" in " ".join(bar_hover_texts(page, 0))


def test_tokens_hold_probabilities_and_divergences(of_tokens, open_page, tmp_path):
    table = next(one for one in of_tokens.values() if "kl_nats" in one)
    page = open_page(saved(plot_token_probabilities(table), table, tmp_path))
    strips, *lines, curved = trace_data(page, "z", "y", "name", "x")
    rows = table.drop_duplicates("position").sort_values("position")
    assert curved["x"] == rows.position.tolist()
    assert_allclose(numbers(curved["y"]), rows.k_g, rtol=1e-6)
    for system, row in zip(strips["y"], strips["z"], strict=True):
        rows = table[table.system == system].sort_values("position")
        assert_allclose(numbers(row), rows.probability, rtol=1e-6)
    for line in lines:
        system = line["name"].split("‖")[1].strip(" )")
        rows = table[table.system == system].sort_values("position")
        assert line["x"] == rows.position.tolist()
        assert_allclose(numbers(line["y"]), rows.kl_nats, rtol=1e-6)
    first = table[table.system == strips["y"][0]].sort_values("position").iloc[0]
    text = " ".join(hover_texts(page, 0, [0, 0]))
    assert f"probability {first.probability:.3f}" in text
    assert f"entropy {first.entropy_nats:.2f} nats" in text
    assert f"position {first.position}: “{first.token}”" in text
    text = " ".join(hover_texts(page, 3, 1))
    assert f"{rows.curvature_nats.iloc[1]:.3g} nats" in text
    below = table[table.system == lines[1]["name"].split("‖")[1].strip(" )")]
    below = below.sort_values("position").iloc[0]
    text = " ".join(hover_texts(page, 2, 0))
    assert f"position {below.position}: “{below.token}”" in text
    assert f"{below.kl_nats:.3f} nats" in text


def test_gates_name_position_and_token(open_page, tmp_path):
    words = ["<think>", " a", "b"]
    table = pd.DataFrame(
        [
            {
                "layer": layer,
                "position": 4 + place,
                "token": word,
                "alpha": 0.1 * layer + 0.2 * place,
            }
            for layer in (3, 5)
            for place, word in enumerate(words)
        ]
    )
    page = open_page(saved(plot_gate_by_token(table), table, tmp_path))
    [strips] = trace_data(page, "z", "y")
    assert_allclose(np.array(strips["z"]), table.pivot(index="layer", columns="position").alpha)
    [text] = hover_texts(page, 0, [1, 0])
    assert text == "block 5, position 4: “<think>”alpha 0.500"


def test_paths_in_space_are_drawn_from_the_table(of_similarity, open_page, tmp_path):
    table = of_similarity["paths"]
    page = open_page(saved(plot_residual_paths_3d(table), table, tmp_path))
    for trace in trace_data(page, "name", "x", "y", "z", "customdata"):
        rows = table[table.stream == trace["name"]].sort_values("layer")
        assert trace["customdata"] == rows.layer.tolist()
        for axis, column in zip("xyz", ("pc1", "pc2", "pc3"), strict=True):
            assert_allclose(numbers(trace[axis]), rows[column], rtol=1e-6)
    canvas = page.locator(".gl-container canvas").first.bounding_box()
    assert canvas["width"] > 300
    assert "WebGL is not supported" not in page.content().split("</script>")[-1]


def test_heat_map_over_blocks_holds_every_cell(open_page, tmp_path):
    cells = pd.MultiIndex.from_product([("lerp", "slerp"), (3, 7), (0.25, 0.75)])
    table = pd.DataFrame(list(cells), columns=["operator", "layer", "alpha"])
    table = table.assign(space="latents", metric="loss_answer", value=0.1 * table.index, n=40)
    table = table.assign(low=table.value - 0.05, high=table.value + 0.03)
    page = open_page(saved(plot_layerwise_heatmap(table, "loss_answer"), table, tmp_path))
    for trace, operator in zip(trace_data(page, "x", "y", "z"), ("lerp", "slerp"), strict=True):
        grid = table[table.operator == operator].pivot(
            index="alpha", columns="layer", values="value"
        )
        assert (trace["x"], trace["y"]) == (["3", "7"], ["0.25", "0.75"])
        assert_allclose(np.array(trace["z"]), grid)
    [text] = hover_texts(page, 1, [1, 0])
    assert text == "block 3, α = 0.750.5000, 0.4500 to 0.5300n = 40"


def test_win_rates_hold_shares_and_intervals(open_page, tmp_path):
    rates = {"win_rate": 0.6, "low": 0.5, "high": 0.75}
    shares = {"win_frac": 0.4, "tie_frac": 0.4, "loss_frac": 0.2}
    common = {"opponent": "host", "judge": "answer key", "judge_accuracy_pct": np.nan}
    table = pd.DataFrame(
        {"system": system, "category": category, "n": 60, "worst_half_width": 0.127}
        | (common | rates | shares)
        for system in ("merge a", "merge b")
        for category in ("Math", "Overall")
    )
    page = open_page(saved(plot_win_rates(table), table, tmp_path))
    drawn = trace_data(page, "name", "x", "y", "error_x.array", "error_x.arrayminus")
    wanted = {"won": 40, "tied": 40, "lost": 20, "win rate, a tie as half a win": 60}
    assert [trace["name"] for trace in drawn] == [*wanted] * 2
    for trace in drawn:
        assert trace["y"] == ["Math (60)", "Overall (60)"]
        assert_allclose(trace["x"], wanted[trace["name"]])
    assert_allclose(drawn[3]["error_x.array"], 15)
    assert_allclose(drawn[3]["error_x.arrayminus"], 10)
    assert "won 40.0 %" in " ".join(bar_hover_texts(page, 0))
    assert "win rate 60.0 %" in " ".join(hover_texts(page, 3, 0))


def test_judge_figures_hold_verdicts_by_order_and_agreement(open_page, tmp_path):
    judges = ("a judge", "another")
    common = {"low": 0.1, "high": 0.5, "n": 154}
    keys = [
        (judge, category, metric)
        for judge in judges
        for category in ("Knowledge", "Math")
        for metric in ("consistency", "order_gap")
    ]
    table = pd.DataFrame(keys, columns=["judge", "category", "metric"])
    table = table.assign(pairs="official", value=0.125 + table.index / 40, **common)
    page = open_page(saved(plot_judge_consistency(table), table, tmp_path))
    shown = trace_data(page, "name", "x", "y")
    groups = table.groupby(["judge", "metric"], sort=False)
    for trace, ((judge, _), rows) in zip(shown, groups, strict=True):
        assert (trace["name"], trace["x"]) == (judge, ["Knowledge", "Math"])
        assert_allclose(trace["y"], 100 * rows.value)
    assert "12.5 %n = 154 pairs" in " ".join(marker_hover_texts(page, 0))
    pairs = pd.DataFrame(
        {"judge": one, "other": other, "value": 1.0 if one == other else 0.3, "kappa": 0.2} | common
        for one in judges
        for other in judges
    )
    page = open_page(saved(plot_judge_agreement(pairs), pairs, tmp_path))
    [matrix] = trace_data(page, "z")
    assert_allclose(np.array(matrix["z"]), [[100, 30], [30, 100]])
    [text] = hover_texts(page, 0, [0, 1])
    assert text == "a judgeanother30.0 % [10.0, 50.0]n = 154 games"

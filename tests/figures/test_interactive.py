"""Figures with sliders, the per-token view and the paths in space hold exactly what their tables say."""

import numpy as np
import pandas as pd
import pytest

from figures import (
    plot_layers_by_alpha,
    plot_next_tokens,
    plot_residual_paths_3d,
    plot_token_probabilities,
)

SYSTEMS = ("host", "donor", "merged")
rng = np.random.default_rng(0)


def next_tokens() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "position": position,
                "token": word,
                "system": system,
                "candidate": candidate,
                "probability": rng.uniform(),
            }
            for position, word in ((4, "\n"), (5, "<think>"), (6, " a"))
            for candidate in ("x", "<y>", " z")[: position - 2]
            for system in SYSTEMS
        ]
    )


def layerwise() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "layer": layer,
                "alpha": alpha,
                "operator": operator,
                "space": "latents",
                "metric": metric,
                "value": (value := rng.uniform()),
                "low": value - 0.02,
                "high": value + 0.02,
                "n": 100 + layer,
            }
            for layer in (0, 5, 7)
            for alpha in (0.25, 0.5)
            for operator in ("lerp", "slerp")
            for metric in ("midness", "loss_nats")
            if not (operator == "slerp" and layer == 5)  # a gap in one line
        ]
    )


def test_slider_over_tokens_holds_every_position_of_the_table() -> None:
    table = next_tokens()
    figure = plot_next_tokens(table)
    assert [trace.name for trace in figure.data] == list(SYSTEMS)
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == ["4: ⏎", "5: &lt;think&gt;", "6: ·a"]
    for position, step in zip((4, 5, 6), slider.steps, strict=True):
        rows = table[table.position == position]
        changes = step.args[0]
        shown = {"x": "x", "&lt;y&gt;": "<y>", "·z": " z"}
        for system, x, y in zip(SYSTEMS, changes["x"], changes["y"], strict=True):
            of_system = rows[rows.system == system].set_index("candidate").probability
            assert dict(zip((shown[one] for one in y), x, strict=True)) == of_system.to_dict()
    first = slider.steps[0].args[0]
    assert [list(trace.x) for trace in figure.data] == first["x"]


def test_slider_over_alpha_holds_every_value_of_the_table() -> None:
    table = layerwise()
    figure = plot_layers_by_alpha(table, "midness")
    assert [trace.name for trace in figure.data] == ["lerp (latents)", "slerp (latents)"]
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == ["0.25", "0.5"]
    for alpha, step in zip((0.25, 0.5), slider.steps, strict=True):
        for operator, y in zip(("lerp", "slerp"), step.args[0]["y"], strict=True):
            rows = table[(table.metric == "midness") & (table.alpha == alpha)]
            rows = rows[rows.operator == operator]
            values = rows.set_index("layer").value
            assert y == [values.get(layer) for layer in (0, 5, 7)]
    assert list(figure.data[0].y) == slider.steps[0].args[0]["y"][0]
    assert "n = 100–107" in figure.layout.title.subtitle.text


def test_slider_over_alpha_refuses_an_unknown_metric() -> None:
    with pytest.raises(ValueError, match="metric='arc'.*midness, loss_nats"):
        plot_layers_by_alpha(layerwise(), "arc")


def test_token_view_shows_probabilities_and_divergences() -> None:
    table = pd.DataFrame(
        [
            {
                "position": position,
                "token": "ab",
                "system": system,
                "probability": rng.uniform(),
                "entropy_nats": 1.0,
                "kl_nats": 0.0 if system == "merged" else rng.uniform(),
            }
            for position in (7, 8, 9, 10)
            for system in SYSTEMS
        ]
    )
    figure = plot_token_probabilities(table)
    strips, *lines = figure.data
    grid = table.pivot(index="system", columns="position", values="probability").loc[list(SYSTEMS)]
    assert np.array_equal(strips.z, grid.to_numpy())
    assert [line.name for line in lines] == ["KL(merged ‖ host)", "KL(merged ‖ donor)"]
    assert list(lines[1].y) == table[table.system == "donor"].kl_nats.tolist()
    assert "n = 4 tokens" in figure.layout.title.subtitle.text
    assert figure.layout.yaxis2.title.text == "KL (nats)"


def test_token_view_shows_curvature_where_the_table_has_it() -> None:
    keys = [(position, system) for position in (7, 8, 9) for system in SYSTEMS]
    table = pd.DataFrame(keys, columns=["position", "system"]).assign(
        token="a<", probability=0.5, entropy_nats=1.0, kl_nats=0.0, curvature_layer=3
    )
    table["k_g"] = table.position.map({7: 0.0, 8: 0.25, 9: np.nan})
    table["curvature_nats"] = 40 * table.k_g
    figure = plot_token_probabilities(table)
    curved = figure.data[-1]
    assert list(curved.x) == [7, 8, 9]
    assert list(curved.y[:2]) == [0.0, 0.25]
    assert np.isnan(curved.y[2])
    assert list(curved.customdata[1]) == [8, "a&lt;", 10.0]
    assert "at block 3" in figure.layout.title.subtitle.text
    assert figure.layout.yaxis3.title.text == "K<sub>g</sub> (nats / norm²)"
    assert figure.layout.xaxis3.title.text == "token"


def test_paths_in_space_follow_the_blocks_in_order() -> None:
    table = pd.DataFrame(
        [
            {"stream": stream, "layer": layer}
            | {f"pc{number}": rng.uniform() for number in (1, 2, 3)}
            | {f"explained_frac_{number}": 0.5 / number for number in (1, 2, 3)}
            for layer in (2, 0, 1)
            for stream in ("host", "merged 0.5")
        ]
    )
    figure = plot_residual_paths_3d(table)
    for trace, stream in zip(figure.data, ("host", "merged 0.5"), strict=True):
        path = table[table.stream == stream].sort_values("layer")
        assert list(trace.customdata) == [0, 1, 2]
        assert list(trace.z) == path.pc3.tolist()
        assert list(trace.text) == ["block 0", "", "block 2"]
    assert figure.layout.scene.zaxis.title.text == "PC 3 (16.7 %)"

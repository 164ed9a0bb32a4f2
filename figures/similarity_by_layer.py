"""Where in depth a merge lies between host and donor, as small multiples over the blocks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from figures.axes import block_axis, value_range
from figures.columns import (
    alpha_levels,
    alpha_words,
    count_phrase,
    distinct,
    has_alpha,
    require_columns,
    require_one_row_per,
)
from figures.interval_line import interval_line
from figures.legend import add_bottom_legend, legend_names
from figures.panel_grid import panel_grid
from figures.template import (
    BLACK,
    GREY,
    apply_template,
    level_colors,
    operator_level_colors,
    space_dash,
)

COLUMNS = ("layer", "alpha", "operator", "space", "metric", "value", "low", "high", "n")
PANEL_HEIGHT, PANEL_GAP = 195, 84  # pixels
HOVER = "block %{x}<br>%{y:.4f}"


@dataclass(frozen=True)
class Panel:
    metric: str
    title: str
    unit: str


def _panels(estimator: str) -> list[Panel]:
    cka = "debiased CKA (0 to 1)" if estimator == "debiased" else "biased CKA in a text (0 to 1)"
    return [
        Panel("midness", "Midness", "cosine with the midpoint"),
        Panel("arc_ratio", "Arc ratio", "0 = host, 1 = donor"),
        Panel("arc_deviation_rad", "Arc deviation", "angle (rad)"),
        Panel(f"cka_{estimator}_host_merged", "CKA, host and merged", cka),
        Panel(f"cka_{estimator}_donor_merged", "CKA, donor and merged", cka),
        Panel(f"cka_{estimator}_host_donor", "CKA, host and donor", cka),
    ]


def plot_similarity_by_layer(
    table: pd.DataFrame, merged_layers: Sequence[int] = (), *, cka_estimator: str = "debiased"
) -> go.Figure:
    """One panel per metric, x = block, one line per operator, space and alpha.

    Reads `layer`, `alpha` (donor's weight; NaN: by block), `operator`, `space`, `metric`, `value`,
    `low` and `high` (95 %; NaN: no interval) and `n` (tokens). A metric that the table lacks has no
    panel; an undefined value (NaN) leaves a gap. With one operator the colour is alpha; with
    several it is the operator, darker with alpha. The dash is the space. Thin vertical lines mark
    `merged_layers`. `cka_estimator` is "debiased" or "biased" (per text, n counts texts).
    """
    require_columns(table, COLUMNS)
    present = set(table["metric"])
    panels = [panel for panel in _panels(cka_estimator) if panel.metric in present]
    if not panels:
        known = ", ".join(panel.metric for panel in _panels(cka_estimator))
        raise ValueError(f"no row of the column metric is one of those drawn here: {known}")
    drawn = table.loc[table["metric"].isin([panel.metric for panel in panels])]
    require_one_row_per(drawn, ["metric", "space", "operator", "alpha", "layer"])
    figure, places, plot_height = panel_grid(
        [panel.title for panel in panels], panel_height=PANEL_HEIGHT, gap=PANEL_GAP
    )
    styles = _line_styles(drawn)
    for panel, where in zip(panels, places, strict=True):
        rows = drawn.loc[drawn["metric"] == panel.metric]
        _draw_panel(figure, rows, styles, panel.unit, where)
    _mark_blocks(figure, merged_layers)
    title, subtitle = _captions(drawn, merged_layers)
    apply_template(figure, title=title, subtitle=subtitle)
    return add_bottom_legend(figure, plot_height=plot_height, top=120)


def _line_styles(table: pd.DataFrame) -> dict[tuple, dict]:
    """Name and line of each (operator, space, alpha), in the order of the legend."""
    operators, spaces = distinct(table, "operator"), distinct(table, "space")
    several = len(operators) > 1
    styles = {}
    for operator in operators:
        of_operator = table.loc[table["operator"] == operator]
        alphas = [alpha for alpha in distinct(of_operator, "alpha") if not math.isnan(alpha)]
        colors = operator_level_colors(alphas, operator) if several else level_colors(alphas)
        for space in spaces:
            of_space = of_operator.loc[of_operator["space"] == space]
            for alpha in alpha_levels(of_space):
                words = [operator] * several + [space] * (len(spaces) > 1) + [alpha_words(alpha)]
                line = {"color": colors.get(alpha, BLACK), "dash": space_dash(space), "width": 2}
                styles[operator, space, alpha] = {"name": " ".join(words), "line": line}
    return styles


def _draw_panel(
    figure: go.Figure, rows: pd.DataFrame, styles: Mapping[tuple, dict], unit: str, where: dict
) -> None:
    shared = rows.drop_duplicates(["layer", "value", "low", "high"])
    if len(distinct(rows, "alpha")) > 1 and len(shared) == len(distinct(shared, "layer")):
        # One curve whatever alpha is, as between host and donor: not a matter of the merge.
        style = {"name": "every α", "line": {"color": GREY, "width": 2}}
        trace = interval_line(shared, "layer", **style, hover=HOVER)
        figure.add_trace(trace.update(showlegend=False), **where)
    else:
        in_legend = legend_names(figure)
        for (operator, space, alpha), style in styles.items():
            chosen = (rows["operator"] == operator) & (rows["space"] == space)
            points = rows.loc[chosen & has_alpha(rows, alpha)]
            if len(points):
                trace = interval_line(points, "layer", **style, hover=HOVER)
                first = style["name"] not in in_legend
                figure.add_trace(trace.update(showlegend=first), **where)
    figure.update_yaxes(title_text=unit, range=value_range(rows), **where)
    figure.update_xaxes(**block_axis(distinct(rows, "layer")), **where)


def _mark_blocks(figure: go.Figure, layers: Sequence[int]) -> None:
    line = {"color": GREY, "width": 1, "dash": "dot"}
    for layer in layers:
        figure.add_shape(
            type="line",
            x0=layer,
            x1=layer,
            y0=0,
            y1=1,
            yref="y domain",
            line=line,
            row="all",
            col="all",
        )


def _captions(table: pd.DataFrame, merged_layers: Sequence[int]) -> tuple[str, str]:
    """Title and subtitle; the subtitle has two short lines, which fit a narrow figure."""
    operators, spaces = (", ".join(distinct(table, key)) for key in ("operator", "space"))
    of_tokens = table.loc[~table["metric"].str.startswith("cka_biased")]
    counted = count_phrase(table, "texts") if of_tokens.empty else count_phrase(of_tokens, "tokens")
    counts = f"{counted} · mean, 95 % interval by text"
    legend = "α: weight of the donor"
    if merged_layers:
        blocks = ", ".join(str(layer) for layer in merged_layers)
        legend += f" · dotted: merged block{'s' * (len(merged_layers) > 1)} {blocks}"
    return f"Similarity by block: {operators} in {spaces}", f"{counts}<br>{legend}"

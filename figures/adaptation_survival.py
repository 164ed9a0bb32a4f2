"""Share of texts that have not adapted yet, by tokens after the injection."""

import pandas as pd
import plotly.graph_objects as go

from figures.adaptation_curves import condition_colors
from figures.columns import distinct, require_columns
from figures.legend import add_bottom_legend
from figures.panel_grid import panel_grid
from figures.template import apply_template

COLUMNS = ("system", "condition", "tau", "time", "survival", "low", "high", "n")


def plot_adaptation_survival(table: pd.DataFrame) -> go.Figure:
    """Kaplan-Meier curves, a panel a system and tau.

    Reads `system`, `condition`, `tau`, `time` (tokens), `survival` (P(latency > time)), `low` and `high`
    (95 %, shown when pointed at), and `n` (items at risk).
    """
    require_columns(table, COLUMNS)
    panels = table[["system", "tau"]].drop_duplicates().to_numpy().tolist()
    conditions = distinct(table, "condition")
    colors = condition_colors(conditions)
    grid = panel_grid([f"{system}, tau {tau}" for system, tau in panels], panel_height=220, gap=70)
    for place, (system, tau) in zip(grid.places, panels, strict=True):
        for name in conditions:
            chosen = (table["system"] == system) & (table["tau"] == tau)
            rows = table.loc[chosen & (table["condition"] == name)]
            if rows.empty:
                continue
            trace = go.Scatter(
                x=rows["time"],
                y=rows["survival"],
                customdata=rows[["low", "high", "n"]],
                line={"color": colors[name], "width": 2, "shape": "hv"},
                mode="lines",
                name=name,
                legendgroup=name,
                showlegend=place is grid.places[0],
                hovertemplate="%{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})<br>"
                "at risk: %{customdata[2]}",
            )
            grid.figure.add_trace(trace, **place)
    grid.figure.update_yaxes(range=[-0.03, 1.03], title_text="not adapted")
    grid.figure.update_xaxes(title_text="tokens after the injection")
    apply_template(
        grid.figure,
        title="Texts that have not adapted yet",
        subtitle=f"Kaplan-Meier · n = {max(table['n'])} items a curve",
    )
    return add_bottom_legend(grid.figure, plot_height=grid.height, top=112)

"""Dev accuracy of models that are trained and merged in rounds."""

import pandas as pd
import plotly.graph_objects as go

from figures.columns import distinct, require_columns, require_one_row_per
from figures.legend import add_bottom_legend
from figures.template import GREY, apply_template

COLUMNS = ("epoch", "locale", "dev_accuracy")


def plot_rounds_curves(monitor: pd.DataFrame, merges: pd.DataFrame) -> go.Figure:
    """One line a locale: x = epoch, y = dev accuracy in percent; a dotted line at each merge.

    monitor: `epoch`, `locale`, `dev_accuracy`. merges: `epoch`, `accepted`; accepted ones are drawn.
    """
    require_columns(monitor, COLUMNS)
    require_one_row_per(monitor, ["epoch", "locale"])
    figure = go.Figure()
    for locale in distinct(monitor, "locale"):
        rows = monitor.loc[monitor["locale"] == locale]
        figure.add_trace(
            go.Scatter(
                x=rows["epoch"],
                y=100 * rows["dev_accuracy"],
                mode="lines+markers",
                name=str(locale),
                hovertemplate=f"{locale}, epoch %{{x}}: %{{y:.1f}} %<extra></extra>",
            )
        )
    accepted = [row["epoch"] for row in merges.to_dict("records") if row["accepted"]]
    for epoch in accepted:
        figure.add_vline(x=epoch, line={"color": GREY, "width": 1, "dash": "dot"})
    apply_template(
        figure,
        title="Dev accuracy in rounds",
        subtitle=f"own language, before the merge of its epoch · dotted: {len(accepted)} merges",
    )
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="dev accuracy (%)")
    return add_bottom_legend(figure, plot_height=300, top=110)

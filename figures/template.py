"""The look that every figure shares: one plotly template, its palette, its scales.

Colours come from the palette of Okabe and Ito (2008), which stays readable with the common kinds
of colour blindness. Plotly's global default template is left alone: a figure is styled by
`apply_template`.
"""

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

BLACK, GREY = "#000000", "#5F6368"
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

HOST_COLOR, DONOR_COLOR, MERGED_COLOR = BLUE, VERMILLION, GREEN
OPERATOR_COLORS = {
    "lerp": ORANGE,
    "linear": ORANGE,
    "slerp": BLUE,
    "regmean": GREEN,
    "task_vector": PURPLE,
    "task_arithmetic": PURPLE,
    "soft": VERMILLION,
    "mean": SKY,
}
SPACE_DASHES = {"latents": "solid", "weights": "dash", "logits": "dot"}
OTHER_OPERATOR_COLOR, OTHER_SPACE_DASH = GREY, "longdashdot"

# For a quantity in [0, 1]: light to dark, so that it also survives a grey print.
SEQUENTIAL_SCALE = [[0.0, "#FBF7E4"], [0.3, "#8CC9A1"], [0.65, "#1F7A8C"], [1.0, "#2A1B4F"]]
# For lines on white: the light end has still a contrast of 3 to 1.
LINE_SCALE = [[0.0, "#7C9A1C"], [0.35, "#00876C"], [0.7, "#1C4E80"], [1.0, "#2E0F45"]]

_FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"
_AXIS = {
    "showgrid": True,
    "gridcolor": "#E8EAED",
    "gridwidth": 1,
    "zeroline": False,
    "showline": True,
    "linecolor": "#9AA0A6",
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": "#9AA0A6",
    "automargin": True,
    "title": {"standoff": 8, "font": {"size": 13}},
    "tickfont": {"size": 12},
}

_COLORBAR = {"title": {"font": {"size": 12}}, "tickfont": {"size": 12}}

TEMPLATE = go.layout.Template(
    data={"heatmap": [go.Heatmap(colorbar=_COLORBAR)]},
    layout={
        "font": {"family": _FONT, "size": 13, "color": "#202124"},
        "paper_bgcolor": "#FFFFFF",
        "plot_bgcolor": "#FFFFFF",
        "colorway": [BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK],
        "colorscale": {
            "sequential": SEQUENTIAL_SCALE,
            "sequentialminus": SEQUENTIAL_SCALE,
        },
        "coloraxis": {"colorbar": _COLORBAR},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "margin": {"l": 70, "r": 24, "t": 92, "b": 60},
        "title": {"x": 0, "xref": "paper", "y": 1, "yanchor": "top", "pad": {"t": 16}},
        "hoverlabel": {"bgcolor": "#FFFFFF", "font": {"family": _FONT, "size": 12}},
        "legend": {"font": {"size": 12}, "title": {"font": {"size": 12}}},
    },
)


def apply_template(figure: go.Figure, *, title: str, subtitle: str) -> go.Figure:
    """Give a figure the shared look and its title; `<br>` in the subtitle starts a second line."""
    figure.update_layout(
        template=TEMPLATE,
        title={
            "text": title,
            "font": {"size": 18},
            "subtitle": {"text": subtitle, "font": {"size": 13, "color": GREY}},
        },
    )
    return figure


def operator_color(operator: str) -> str:
    """Colour of an operator; grey for one without a colour of its own."""
    return OPERATOR_COLORS.get(operator, OTHER_OPERATOR_COLOR)


def space_dash(space: str) -> str:
    """Dash of a space; a long dash-dot for one without a dash of its own."""
    return SPACE_DASHES.get(space, OTHER_SPACE_DASH)


def level_colors(
    levels: Iterable[float], scale: Sequence[Sequence] = LINE_SCALE, *, by_rank: bool = True
) -> dict:
    """Colours for ordered levels (alphas, blocks), light to dark in increasing order.

    Levels are spaced by rank, so that close ones can be distinguished, or by value, which is what a
    colour bar shows. One level alone gets the middle of the scale.
    """
    ordered = sorted(set(levels))
    if len(ordered) < 2:
        places = [0.5] * len(ordered)
    else:
        spots = range(len(ordered)) if by_rank else ordered
        places = [(spot - spots[0]) / (spots[-1] - spots[0]) for spot in spots]
    return dict(zip(ordered, sample_colorscale(list(scale), places), strict=True))


def operator_level_colors(levels: Iterable[float], operator: str) -> dict:
    """Shades of one operator's colour for ordered levels: its own colour first, then darker."""
    color = operator_color(operator)
    return level_colors(levels, [[0.0, color], [1.0, _darker(color, 0.45)]])


def system_colors(names: Sequence[str]) -> dict[str, str]:
    """Colours of models: 'host...' and 'donor...' have their own, all others are sequential."""
    own = {"host": HOST_COLOR, "donor": DONOR_COLOR}
    colors = {name: own.get(_first_word(name), "") for name in names}
    merges = [name for name, color in colors.items() if not color]
    if len(merges) == 1:
        return colors | {merges[0]: MERGED_COLOR}
    shades = level_colors(range(len(merges)))
    return colors | {name: shades[rank] for rank, name in enumerate(merges)}


def _first_word(name: str) -> str:
    words = name.lower().replace("(", " ").replace(":", " ").split()
    return words[0] if words else ""


def _darker(color: str, keep_frac: float) -> str:
    channels = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(channel * keep_frac):02X}" for channel in channels)

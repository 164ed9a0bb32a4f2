import plotly.io as pio
import pytest

import figures
from figures.template import (
    OTHER_OPERATOR_COLOR,
    TEMPLATE,
    level_colors,
    operator_color,
    space_dash,
    system_colors,
)


def luminance(color: str) -> float:
    """Relative luminance of "rgb(r, g, b)" by WCAG 2."""
    channels = [float(part) / 255 for part in color[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_level_colors_darken_with_the_level_and_read_on_white():
    colors = level_colors([0.9, 0.1, 0.5, 0.25, 0.75])
    assert list(colors) == [0.1, 0.25, 0.5, 0.75, 0.9]
    levels = [luminance(color) for color in colors.values()]
    assert levels == sorted(levels, reverse=True)
    assert len(set(levels)) == 5
    assert all(1.05 / (level + 0.05) >= 3 for level in levels)


def test_level_colors_of_one_and_of_none():
    assert len(level_colors([0.5])) == 1
    assert level_colors([]) == {}


def test_an_unknown_operator_is_grey_and_an_unknown_space_has_a_dash_of_its_own():
    assert operator_color("nearswap") == OTHER_OPERATOR_COLOR
    assert len({space_dash(space) for space in ("latents", "weights", "logits", "other")}) == 4


def test_host_and_donor_keep_their_colours_in_any_order():
    names = ["merged 0.5", "donor (thinker)", "Host: instruct", "merged 0.25"]
    colors, again = system_colors(names), system_colors(names[::-1])
    assert list(colors) == names
    assert len(set(colors.values())) == 4
    assert colors["donor (thinker)"] == again["donor (thinker)"]
    assert colors["Host: instruct"] == again["Host: instruct"]


@pytest.mark.parametrize(
    ("plot", "table"),
    [
        ("plot_similarity_by_layer", "similarity"),
        ("plot_arc_ratio_by_alpha", "similarity"),
        ("plot_residual_paths", "paths"),
        ("plot_accuracy_by_category", "accuracy"),
    ],
)
def test_figures_share_the_template_and_leave_the_table_and_plotly_alone(plot, table, request):
    table = request.getfixturevalue(table)
    before, default = table.copy(), pio.templates.default
    figure = getattr(figures, plot)(table)
    assert figure.layout.template == TEMPLATE
    assert figure.layout.width is None
    assert table.equals(before)
    assert pio.templates.default == default

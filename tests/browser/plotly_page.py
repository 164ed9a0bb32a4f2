"""What a figure in an open page holds and shows: data, slider, hover text."""

from typing import Any

import numpy as np

_NUMBERS = """([place, names]) => {
  const figure = document.querySelectorAll('.plotly-graph-div')[place];
  const plain = (one) => one && typeof one === 'object' && 'length' in one
    ? Array.from(one, plain) : one === undefined ? null : one;
  return figure._fullData.map(trace => Object.fromEntries(names.map(name => [name,
    plain(name.split('.').reduce((inner, key) => inner === undefined ? inner : inner[key], trace))])));
}"""
_ACTIVE = (
    "place => document.querySelectorAll('.plotly-graph-div')[place]._fullLayout.sliders[0].active"
)
_LISTEN = """place => {
  const figure = document.querySelectorAll('.plotly-graph-div')[place];
  figure.drawnAgain = false;
  figure.once('plotly_afterplot', () => { figure.drawnAgain = true; });
}"""
_DRAWN_AGAIN = "place => document.querySelectorAll('.plotly-graph-div')[place].drawnAgain"
_PLACE = """([place, curve, point]) => {
  const figure = document.querySelectorAll('.plotly-graph-div')[place];
  const trace = figure._fullData[curve], layout = figure._fullLayout;
  const axis = name => layout[name[0] + 'axis' + name.slice(1)];
  const [x, y] = [axis(trace.xaxis), axis(trace.yaxis)];
  const [row, column] = Array.isArray(point) ? point : [point, point];
  const box = figure.getBoundingClientRect();
  const at = (axis, value) => axis._offset + axis.l2p(axis.d2l(value));  // "3" may be a category
  return [box.x + at(x, trace.x[column]), box.y + at(y, trace.y[row])];
}"""
_HOVERED = """place => [...document.querySelectorAll('.plotly-graph-div')[place]
  .querySelectorAll('.hoverlayer .hovertext')].map(one => one.textContent)"""


def trace_data(page: Any, *names: str, place: int = 0) -> list[dict[str, Any]]:
    """By trace: what plotly.js drew from, lists of numbers or texts; None for a gap."""
    return page.evaluate(_NUMBERS, [place, list(names)])


def numbers(values: list[Any]) -> np.ndarray:
    """Numbers with NaN for gaps."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def move_slider(page: Any, step: int, n_steps: int, place: int = 0) -> None:
    """Click on the slider's rail where a step stands, as a hand would, and wait for the new picture."""
    if page.evaluate(_ACTIVE, place) == step:
        return
    page.evaluate(_LISTEN, place)
    figure = page.locator(".plotly-graph-div").nth(place)
    rail = figure.locator(".slider-rail-touch-rect").bounding_box()
    grip = figure.locator(".slider-grip-rect").bounding_box()
    reach = rail["width"] - grip["width"]
    x = rail["x"] + grip["width"] / 2 + reach * step / max(n_steps - 1, 1)
    page.mouse.click(x, rail["y"] + rail["height"] / 2)
    page.wait_for_function(_DRAWN_AGAIN, arg=place)
    assert page.evaluate(_ACTIVE, place) == step


def slider_label(page: Any, place: int = 0) -> str:
    """What the slider says of where it stands."""
    return (
        page.locator(".plotly-graph-div").nth(place).locator(".slider-label").first.text_content()
    )


def hover_texts(page: Any, curve: int, point: Any, place: int = 0) -> list[str]:
    """The texts that show when the mouse is on a point; [row, column] for a heatmap's."""
    figure = page.locator(".plotly-graph-div").nth(place)
    figure.scroll_into_view_if_needed()
    x, y = page.evaluate(_PLACE, [place, curve, point])
    page.mouse.move(x + 3, y + 3)
    page.mouse.move(x, y)
    figure.locator(".hoverlayer .hovertext").first.wait_for()
    return page.evaluate(_HOVERED, place)


def bar_hover_texts(page: Any, bar: int, place: int = 0) -> list[str]:
    """The texts that show when the mouse is in the middle of a bar, counted over all traces."""
    return _hovered_texts(page, ".bars .point path", bar, place)


def marker_hover_texts(page: Any, marker: int, place: int = 0) -> list[str]:
    """The same of a marker: for those that stand aside from their category, in groups."""
    return _hovered_texts(page, ".scatterlayer .points path", marker, place)


def _hovered_texts(page: Any, shapes: str, number: int, place: int) -> list[str]:
    figure = page.locator(".plotly-graph-div").nth(place)
    figure.locator(shapes).nth(number).hover(force=True)
    figure.locator(".hoverlayer .hovertext").first.wait_for()
    return page.evaluate(_HOVERED, place)

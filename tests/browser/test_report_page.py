"""report.html in a browser, at a wide and a narrow window."""

import pytest
from plotly_page import trace_data

from analyses.similarity.analysis import of_first_merge
from figures.page import format_number

SHOWN = ("answers", "accuracy", "spaces", "similarity", "paths", "signal_ranks")
CELLS = """() => [...document.querySelectorAll('table')].map(table =>
  [...table.rows].slice(1).map(row => [...row.cells].map(cell => cell.textContent)))"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"

# texts of a figure that stick out of it
CUT = """() => [...document.querySelectorAll('.plotly-graph-div')].flatMap(figure => {
  const room = figure.getBoundingClientRect();
  return [...figure.querySelectorAll('.main-svg text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.width > 0 && getComputedStyle(text).opacity > 0 && (box.left < room.left - 1
      || box.right > room.right + 1 || box.top < room.top - 1 || box.bottom > room.bottom + 1);
  }).map(text => text.textContent);
})"""

pytestmark = pytest.mark.slow  # Chromium starts, and lays out large figures


@pytest.fixture
def written(small_report):
    *_, path, tables = small_report
    return path, tables


@pytest.mark.parametrize("width", [1400, 420])
def test_the_report_shows_its_tables_and_figures_and_nothing_sticks_out(written, open_page, width):
    path, tables = written
    page = open_page(path, width)
    shown = page.evaluate(CELLS)
    tables = tables | {"similarity": of_first_merge(tables["similarity"])}
    for name, cells in zip(SHOWN, shown, strict=True):
        expected = [
            [one if isinstance(one, str) else format_number(one) for one in row]
            for row in tables[name].itertuples(index=False)
        ]
        assert cells == expected
    assert page.evaluate(OVERFLOW) == 0
    boxes = page.locator("figure, figcaption, .plot-box")
    for place in range(boxes.count()):
        box = boxes.nth(place).bounding_box()
        assert 0 <= box["x"]
        assert box["x"] + box["width"] <= width
    assert page.evaluate(CUT) == []


def test_every_figure_has_a_caption_of_words(written, open_page):
    page = open_page(written[0], 420)
    captions = page.locator("figcaption strong").all_text_contents()
    assert len(captions) == page.locator(".plotly-graph-div").count() > 10
    assert all(captions)
    assert len(set(captions)) == len(captions)


def test_the_figures_of_the_report_hold_the_numbers_of_its_tables(written, open_page):
    path, tables = written
    page = open_page(path)
    n_figures = page.locator(".plotly-graph-div").count()
    drawn = [
        {
            round(float(value), 9)
            for trace in trace_data(page, "x", "y", place=place)
            for axis in ("x", "y")
            for value in trace[axis] or ()  # a histogram has no y
            if isinstance(value, (int, float))
        }
        for place in range(n_figures)
    ]
    accuracy, similarity, paths = tables["accuracy"], tables["similarity"], tables["paths"]
    similarity = of_first_merge(similarity)
    midness = similarity[similarity.metric == "midness"].value.dropna()
    arc_ratio = similarity[similarity.metric == "arc_ratio"].value.dropna()
    for values, place in ((midness, 2), (arc_ratio, 3), (paths.pc1, 6), (paths.pc2, 6)):
        assert {round(float(value), 9) for value in values} <= drawn[place]
    shares = {round(float(value), 9) for value in accuracy.accuracy_frac}
    percents = {round(100 * float(value), 9) for value in accuracy.accuracy_frac}
    assert shares <= drawn[0] or percents <= drawn[0]

"""Figures at the widths of a column and a page: nothing cut, nothing on top of each other."""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from figures import (
    plot_accuracy_by_category,
    plot_accuracy_forest,
    plot_similarity_by_layer,
    save_figure,
)
from figures.print_size import PIXELS_PER_INCH, PRINT_SCALE, for_print


def smallest_points(figure) -> float:
    sizes = [float(size) for size in _sizes(figure.to_dict()["layout"])]
    return min(sizes) * PRINT_SCALE * 72 / PIXELS_PER_INCH


def _sizes(part):
    for key, value in part.items() if isinstance(part, dict) else ():
        if key == "font" or key.endswith("font"):
            yield from [value["size"]] if "size" in value else []
        yield from _sizes(value)
    for value in part if isinstance(part, (list, tuple)) else ():
        yield from _sizes(value)


@pytest.mark.slow  # as long as the browser takes to start and draw
@pytest.mark.parametrize("width_in", [3.3, 6.9])
def test_letters_are_readable_and_titles_fit_the_width(similarity, width_in):
    figure = plot_similarity_by_layer(similarity, merged_layers=range(40))
    before = figure.layout.to_plotly_json()
    printed = for_print(figure, width_in)
    assert figure.layout.to_plotly_json() == before  # a copy was laid out
    assert printed.width * printed.scale / PIXELS_PER_INCH == pytest.approx(width_in, rel=0.01)
    assert smallest_points(printed.figure) >= 6
    subtitle = printed.figure.layout.title.subtitle
    longest = max(map(len, subtitle.text.split("<br>")))
    assert longest * 0.5 * subtitle.font.size <= printed.width
    assert subtitle.text.replace("<br>", " ") == figure.layout.title.subtitle.text.replace(
        "<br>", " "
    )
    n_more = subtitle.text.count("<br>") - figure.layout.title.subtitle.text.count("<br>")
    assert n_more > 0
    margins = [one.layout.margin for one in (figure, printed.figure)]
    plot_heights = [
        height - margin.t - margin.b
        for height, margin in zip((figure.layout.height, printed.height), margins, strict=True)
    ]
    assert plot_heights[0] == plot_heights[1]


def test_panels_of_a_column_leave_room_for_the_axis_between_them(similarity):
    printed = for_print(plot_similarity_by_layer(similarity), 3.3)
    layout = printed.figure.layout
    gap = layout.xaxis2.domain[0] - layout.xaxis.domain[1]
    assert gap * (printed.width - 70 - 24) >= 60
    assert layout.xaxis.domain[0] == 0
    assert layout.xaxis2.domain[1] == pytest.approx(1)
    centres = {sum(axis.domain) / 2 for axis in (layout.xaxis, layout.xaxis2)}
    assert {round(note.x, 9) for note in layout.annotations} == {round(one, 9) for one in centres}


def test_a_legend_gets_the_rows_that_a_column_needs(accuracy):
    names = {"host": "a host with a long name", "donor": "a donor with a long name"}
    figure = plot_accuracy_by_category(accuracy.assign(system=accuracy.system.replace(names)))
    narrow, wide = (for_print(figure, width_in).figure.layout for width_in in (2.5, 6.9))
    assert narrow.margin.b > wide.margin.b == figure.layout.margin.b


def test_panels_too_narrow_to_read_are_said():
    table = pd.DataFrame(
        {"system": "host", "category": f"Category {number}", "operator": "", "space": ""}
        for number in range(6)
    ).assign(accuracy_frac=0.5, low=0.4, high=0.6, n=60)
    figure = plot_accuracy_forest(table)
    for_print(figure, 6.9)
    with pytest.warns(
        UserWarning, match=r"6 panels side by side .* at 3\.3 inches; print it wider"
    ):
        for_print(figure, 3.3)


def test_a_width_in_pixels_is_refused(similarity):
    with pytest.raises(ValueError, match=r"width_in=1000 is outside 1\.\.40 inches"):
        for_print(plot_similarity_by_layer(similarity), 1000)


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("pdffonts")), reason="needs a browser, poppler"
)
def test_a_pdf_has_the_width_embeds_its_fonts_and_is_neither_shrunk_nor_cut(similarity, tmp_path):
    pytest.importorskip("kaleido", reason="optional: the extra `export`")
    figure = plot_similarity_by_layer(similarity)
    save_figure(figure, similarity, tmp_path, "figure", ("pdf",), width_in=3.3)
    info, fonts, words = (
        subprocess.run(
            [*tool, tmp_path / "figure.pdf", *["-"] * (len(tool) > 1)],
            capture_output=True,
            text=True,
        ).stdout
        for tool in (["pdfinfo"], ["pdffonts"], ["pdftotext", "-bbox"])
    )
    points = float(info.split("Page size:")[1].split()[0])
    assert points == pytest.approx(3.3 * 72, abs=2)
    lines = fonts.splitlines()[2:]
    assert lines
    assert all(line.split()[-5] == "yes" for line in lines)
    height = float(info.split("Page size:")[1].split()[2])
    boxes = re.findall(r'xMin="(.*?)" yMin="(.*?)" xMax="(.*?)" yMax="(.*?)">(.*?)<', words)
    assert min(float(box[0]) for box in boxes if box[4] == "Similarity") == pytest.approx(
        12 * PRINT_SCALE * 72 / PIXELS_PER_INCH, abs=1
    )
    assert max(float(box[3]) for box in boxes) <= height  # the legend is at the foot

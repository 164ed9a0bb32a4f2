"""Titles that stand as text beside their figure."""

import plotly.graph_objects as go

from figures import Section, plot_accuracy_by_category, render_page
from figures.caption import captioned
from figures.template import apply_template


def test_a_caption_holds_the_figure_s_words_and_the_plot_area_keeps_its_size(accuracy):
    figure = plot_accuracy_by_category(accuracy)
    caption = captioned(figure)
    assert caption.title == figure.layout.title.text
    assert [str(line) for line in caption.subtitle] == [figure.layout.title.subtitle.text]
    assert caption.figure.layout.title.text is None
    assert figure.layout.title.text is not None  # the one given is left as it was

    def plot_height(one):
        return one.layout.height - one.layout.margin.t - one.layout.margin.b

    assert plot_height(caption.figure) == plot_height(figure)
    assert caption.figure.layout.height < figure.layout.height


def test_lines_of_the_subtitle_and_plotly_s_markup_survive_and_nothing_else():
    figure = apply_template(
        go.Figure(), title="K<sub>g</sub> of <img src=x>", subtitle="a & b<br>second <b>line</b>"
    )
    caption = captioned(figure)
    assert caption.title == "K<sub>g</sub> of &lt;img src=x&gt;"
    assert [str(line) for line in caption.subtitle] == ["a &amp; b", "second <b>line</b>"]
    page = render_page("Title", "", [Section("S", "", figure)])
    assert "<strong>K<sub>g</sub> of &lt;img src=x&gt;</strong>" in page
    assert "<img src=x>" not in page

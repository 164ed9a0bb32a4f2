import re
import shutil
import sys

import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from figures import (
    Section,
    plot_accuracy_by_category,
    plot_residual_paths,
    render_page,
    save_figure,
)
from figures.page import format_number


@pytest.fixture
def without_browser(monkeypatch, tmp_path):
    pytest.importorskip("kaleido", reason="optional: the extra `export`")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-browser-here"))
    monkeypatch.setattr(
        "choreographer.browsers.chromium.get_chrome_download_path", lambda **_: None
    )
    monkeypatch.setattr(
        "choreographer.browsers.chromium.get_old_chrome_download_path", lambda: None
    )


def test_html_and_table_lie_beside_each_other_and_work_offline(accuracy, tmp_path):
    figure = plot_accuracy_by_category(accuracy)
    written = save_figure(figure, accuracy, tmp_path / "new", "accuracy", formats=["html"])
    assert [path.name for path in written] == ["accuracy.csv", "accuracy.html"]
    pd.testing.assert_frame_equal(pd.read_csv(written[0]), accuracy, check_dtype=False)
    html = written[1].read_text(encoding="utf-8")
    assert get_plotlyjs()[:1000] in html
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", html)
    assert '"showSendToCloud": false' in html


@pytest.mark.parametrize("formats", [("html", "png"), ("svg",)])
def test_without_browser_html_and_table_are_written_with_a_warning(
    accuracy, tmp_path, without_browser, formats
):
    figure = plot_accuracy_by_category(accuracy)
    with pytest.warns(UserWarning, match="apt install chromium"):
        written = save_figure(figure, accuracy, tmp_path, "accuracy", formats=formats)
    assert [path.name for path in written] == ["accuracy.csv", "accuracy.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.csv", "accuracy.html"]


def test_without_kaleido_the_warning_names_it(accuracy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.warns(UserWarning, match="pip install 'kaleido"):
        save_figure(plot_accuracy_by_category(accuracy), accuracy, tmp_path, "accuracy")


def test_unknown_format_is_refused_before_anything_is_written(accuracy, tmp_path):
    with pytest.raises(ValueError, match="unknown format eps; choose from html, png, svg, pdf"):
        save_figure(plot_accuracy_by_category(accuracy), accuracy, tmp_path, "x", ["html", "eps"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")), reason="needs a browser"
)
def test_static_images_have_the_signature_of_their_format(accuracy, tmp_path):
    pytest.importorskip("kaleido", reason="optional: the extra `export`")
    formats = ["png", "svg", "pdf"]
    figure = plot_accuracy_by_category(accuracy)
    written = save_figure(figure, accuracy, tmp_path, "accuracy", formats)
    starts = {path.suffix: path.read_bytes()[:5] for path in written[1:]}
    assert starts == {".png": b"\x89PNG\r", ".svg": b"<svg ", ".pdf": b"%PDF-"}


def page_without_plotlyjs(*sections: Section, title: str = "Title", introduction: str = "") -> str:
    page = render_page(title, introduction, sections)
    assert page.count(get_plotlyjs()) == 1
    return page.replace(get_plotlyjs(), "")


def test_page_escapes_all_text_that_it_is_given(accuracy):
    attack = "<script>alert(1)</script>"
    table = pd.DataFrame({attack: [attack], "score": [0.5]})
    figure = plot_accuracy_by_category(accuracy.assign(system=accuracy["system"] + attack))
    section = Section(attack, attack, figure, table)
    page = page_without_plotlyjs(section, title=attack, introduction=attack)
    assert attack not in page
    assert "alert(1)</script>" not in page
    assert '<td class="short">&lt;script&gt;alert(1)&lt;/script&gt;</td>' in page


def test_page_refers_to_nothing_outside_itself(accuracy, paths):
    sections = [
        Section("Accuracy", "One.", plot_accuracy_by_category(accuracy), accuracy),
        Section("Paths", "Two.", plot_residual_paths(paths)),
    ]
    page = page_without_plotlyjs(*sections)
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", page)
    assert not re.search(r"<script[^>]*\ssrc=", page)
    assert "default-src 'none'" in page
    assert page.count("Plotly.newPlot(") == 2
    assert page.count("<table>") == 1
    assert page.count('"responsive": true') == 2
    assert page.count('"showSendToCloud": false') == 2


def test_page_splits_paragraphs_and_aligns_numbers():
    table = pd.DataFrame({"model": ["host"], "score": [0.123456], "n": [12345], "ok": [True]})
    page = page_without_plotlyjs(Section("S", "First.\n\nSecond.", table=table))
    assert "<p>First.</p>\n<p>Second.</p>" in page
    assert '<td class="short">host</td><td class="number">0.123</td>' in page
    assert '<td class="number">12345</td><td class="short">True</td>' in page
    assert "1 row<" in page


def test_long_model_output_may_wrap():
    page = page_without_plotlyjs(Section("S", "", table=pd.DataFrame({"text": ["a b " * 50]})))
    assert '<td class="long">a b a b' in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.123"),
        (12345.6, "12300"),
        (12345, "12345"),
        (-1.0, "-1"),
        (0.0, "0"),
        (1.234e-7, "1.23e-07"),
        (float("nan"), "–"),
        (None, "–"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert format_number(value) == text

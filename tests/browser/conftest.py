"""A headless Chromium of the system, pages in it that may neither complain nor reach the network."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# a container's root needs --no-sandbox; the others draw 3-D figures without a graphics card
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader")
FLAGS += ("--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
LOCAL = ("file:", "data:", "blob:")


# Playwright keeps an event loop running in this thread while it is open. A module's scope closes it
# before other tests of the same worker start loops of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs lm-merge[test]")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser on the PATH ({', '.join(NAMES)}); Debian: apt install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a local file at a window width; at the end no page may have had anything to say."""
    context = browser.new_context(offline=True)
    complaints: list[str] = []

    def note(kind: str, text: str) -> None:
        complaints.append(f"{kind}: {text[:300]}")

    def opened(path: Path, width: int = 1280) -> Any:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("console", lambda m: m.type == "error" and note(m.type, m.text))
        page.on("pageerror", lambda error: note("exception", str(error)))
        page.on("request", lambda r: r.url.startswith(LOCAL) or note("request", r.url))
        page.goto(path.as_uri())
        page.wait_for_function(DRAWN)
        return page

    yield opened
    context.close()
    assert not complaints


# every figure has been laid out, its slider included
DRAWN = """() => {
  const figures = [...document.querySelectorAll('.plotly-graph-div')];
  return figures.length > 0 && figures.every(one => one._fullLayout && one.calcdata
    && one.querySelector('.main-svg'));
}"""

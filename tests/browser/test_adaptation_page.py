"""`lm-merge explore adaptation` in a browser: a text is written, a context injected, curves go on."""

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from time import monotonic, sleep

import pytest

pytestmark = pytest.mark.slow  # a server and a kernel start
PATIENCE_S = 300


@pytest.fixture
def address() -> Iterator[str]:
    pytest.importorskip("voila", reason="needs lm-merge[web]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["explore", "adaptation", "--open_browser", "false", "--port", str(port)]
    server = subprocess.Popen([sys.executable, "-m", "lm_merge.cli", *words])
    url, until = f"http://127.0.0.1:{port}/", monotonic() + PATIENCE_S
    while monotonic() < until and server.poll() is None and not answers(f"{url}voila/static/"):
        sleep(0.5)
    yield url
    server.terminate()
    server.wait(timeout=30)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True  # there is a server, whatever it has under this name
    except OSError:
        return False
    return True


def test_thirty_tokens_are_written_around_an_injection(address, browser):
    context = browser.new_context()
    complaints: list[str] = []
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    outside = re.compile(rf"^(?!{re.escape(address)}|data:|blob:|ws:)")
    page.on("request", lambda r: outside.match(r.url) and complaints.append(r.url))
    page.goto(address, timeout=1000 * PATIENCE_S)
    inject = page.get_by_role("button", name="inject c1")
    inject.wait_for()
    page.wait_for_selector(".js-plotly-plot .main-svg")
    player = page.locator(".widget-play button")
    player.nth(0).click()
    page.wait_for_function(f"() => ({WRITTEN}) >= 8")
    inject.click()
    page.wait_for_function(f"() => ({WRITTEN}) >= 30")
    player.nth(0).click()  # pauses
    index = page.evaluate("() => Array.from(document.querySelector('.js-plotly-plot').data[0].y)")
    assert len(index) >= 5
    assert index[-1] > 0.5  # tiny-newest follows the newest context
    context.close()
    assert complaints == []


# tokens of the attention curve, which has all of the text
WRITTEN = "(document.querySelector('.js-plotly-plot')?.data?.[2]?.x ?? []).length"

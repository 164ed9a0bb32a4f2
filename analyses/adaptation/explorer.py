"""A widget: a text is written token by token, and a context is injected at any moment.

    explorer = AdaptationExplorer(lm.load("tiny-newest"))
    explorer.show()

Press play; while the text grows, press inject, and see which context each further token follows. Of a
merge in latents or logits alpha can be changed while it generates. `lm-merge explore adaptation` serves
the same widget as a page of this machine.
"""

import html
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.adaptation.attention import PARTS, TEXT_PART
from analyses.adaptation.config import AdaptationConfig
from analyses.adaptation.explorer_options import CONTEXT, INJECTED
from analyses.adaptation.live import LiveText, Step, alpha_of
from figures import TEMPLATE
from lm_merge.spaces import Composed

WIDTH = 720  # pixels
SHOWN = (*dict.fromkeys(PARTS.values()), TEXT_PART)
COLORS = {"original": "#0072B2", "injected": "#D55E00", "mixed": "#444444", "neither": "#999999"}
WORDS = {
    "original": "expected under c0",
    "injected": "expected under c1",
    "mixed": "under both",
    "neither": "under neither",
}


class AdaptationExplorer:
    """Controls, the text and three curves of one system: index, log ratio and attention.

    The parts are ordinary ipywidgets: `context`, `injected`, `play`, `inject`, `restart`, `alpha` (None
    where the system has none), `text`, `message`, and `curves` (a plotly FigureWidget); `live` is the
    text itself. config: templates and rules, as of the analysis.

    Needs the extra notebooks (ipywidgets, anywidget).
    """

    def __init__(
        self,
        system: Composed,
        *,
        context: str = CONTEXT,
        injected: str = INJECTED,
        config: AdaptationConfig | None = None,
        max_new_tokens: int = 120,
        interval_ms: int = 200,
    ) -> None:
        import ipywidgets

        self.system, self.config = system, config or AdaptationConfig()
        self.max_new_tokens = max_new_tokens
        across = {"width": f"{WIDTH}px"}
        self.context = ipywidgets.Textarea(
            context, description="c0", rows=2, continuous_update=False, layout=across
        )
        self.injected = ipywidgets.Textarea(injected, description="c1", rows=2, layout=across)
        # ticks may be dropped while a token is computed, so the player's own end lies far off
        self.play = ipywidgets.Play(min=0, max=10**6, interval=interval_ms, show_repeat=False)
        self.inject = ipywidgets.Button(description="inject c1", button_style="warning")
        self.restart = ipywidgets.Button(description="start anew")
        self.alpha = self._slider()
        self.text, self.message = ipywidgets.HTML(layout=across), ipywidgets.HTML()
        self.curves = _empty_curves()
        self.play.observe(self._ticked, names="value")
        self.context.observe(lambda _: self.start(), names="value")
        self.inject.on_click(lambda _: self.put_in())
        self.restart.on_click(lambda _: self.start())
        self.live: LiveText | None = None
        self.start()

    def _slider(self) -> Any:
        import ipywidgets

        alpha = alpha_of(self.system)
        if alpha is None:
            return None
        slider = ipywidgets.FloatSlider(alpha, min=0, max=1, step=0.05, description="alpha")
        slider.observe(lambda change: setattr(self.system, "alpha", change.new), names="value")
        return slider

    def show(self) -> Any:
        """The whole as one widget: give it as the last line of a cell."""
        import ipywidgets

        sliders = [] if self.alpha is None else [self.alpha]
        buttons = ipywidgets.HBox([self.play, self.inject, self.restart, *sliders])
        views = [self.message, self.text, self.curves]
        return ipywidgets.VBox([self.context, self.injected, buttons, *views])

    def start(self) -> None:
        """An empty text under c0."""
        self.play.playing = False
        self.inject.disabled = False
        self.message.value = ""
        try:
            self.live = LiveText(self.system, self.context.value, self.config)
        except ValueError as error:
            self.live = None
            self._note(str(error))
        self._draw()

    def put_in(self) -> None:
        """Inject c1 after the text so far."""
        if self.live is None:
            return
        try:
            self.live.inject(self.injected.value)
        except ValueError as error:
            self._note(str(error))
            return
        self.inject.disabled = True
        self._draw()

    def write(self) -> None:
        """Write one token, and draw it; at the end of the text the player stops."""
        if self.live is None:
            self.play.playing = False
            return
        try:
            step = self.live.step() if len(self.live.steps) < self.max_new_tokens else None
        except ValueError as error:
            self.play.playing = False
            self._note(str(error))
            return
        if step is None:
            self.play.playing = False
            ended = "the system ended the text" if self.live.ended else "all tokens are written"
            self._note(f"{ended} ({len(self.live.steps)})")
            return
        self._draw()

    def _ticked(self, change: Any) -> None:
        if change.new > change.old:
            self.write()
        else:  # the player's stop button
            self.start()

    def _note(self, words: str) -> None:
        self.message.value = f"<em>{html.escape(words)}</em>"

    def _draw(self) -> None:
        steps = [] if self.live is None else self.live.steps
        tau = None if self.live is None else self.live.tau
        self.text.value = _page(steps, tau)
        places = range(len(steps))
        apart = [place for place in places if steps[place].diagnostic]
        after = [place for place in places if steps[place].attribution]
        with self.curves.batch_update():
            index, ratio, *shares = self.curves.data
            index.x, index.y = apart, [steps[place].index for place in apart]
            ratio.x, ratio.y = after, [steps[place].log_ratio_nats for place in after]
            for trace in shares:
                trace.x = list(places)
                trace.y = [(step.attention or {}).get(trace.name) for step in steps]
            self.curves.layout.shapes = () if tau is None else [_line(tau - 0.5)]


def _page(steps: list[Step], tau: int | None) -> str:
    """The text with each token in the colour of the context that it is expected under."""
    key = " · ".join(f'<span style="color:{COLORS[one]}">{WORDS[one]}</span>' for one in COLORS)
    pieces = []
    for place, step in enumerate(steps):
        mark = " <strong>| c1 |</strong>" if place == tau else ""
        color = COLORS.get(step.attribution, "inherit")
        pieces.append(f'{mark}<span style="color:{color}">{html.escape(step.text)}</span>')
    mark = " <strong>| c1 |</strong>" if tau == len(steps) else ""
    body = f'<div style="white-space:pre-wrap">{"".join(pieces)}{mark}</div>'
    return f"<small>{key}</small>{body}"


def _line(place: float) -> dict[str, Any]:
    ends = {"x0": place, "x1": place, "y0": 0, "y1": 1}
    return {"type": "line", "xref": "x", "yref": "paper", "line": {"dash": "dot"}, **ends}


def _empty_curves() -> Any:
    layout: Any = TEMPLATE.layout
    titles = ("adaptation index", "log ratio (nats)", "attention")
    grid = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    colors = (COLORS["injected"], COLORS["mixed"])
    for row, (name, color) in enumerate(zip(titles[:2], colors, strict=True), start=1):
        line = {"color": color}
        trace = go.Scatter(name=name, mode="lines+markers", line=line, showlegend=False)
        grid.add_trace(trace, row=row, col=1)
    for place, name in enumerate(SHOWN):
        line = {"color": layout.colorway[place]}
        grid.add_trace(go.Scatter(name=name, mode="lines", line=line), row=3, col=1)
    for row, title in enumerate(titles, start=1):
        grid.update_yaxes(title_text=title, row=row, col=1)
    for row in (1, 3):
        grid.update_yaxes(range=[-0.05, 1.05], row=row, col=1)
    grid.update_xaxes(title_text="token", row=3, col=1)
    legend = {"orientation": "h", "y": -0.18}
    sizes = {"height": 520, "width": WIDTH, "margin": {"t": 20, "b": 40}}
    grid.update_layout(template=TEMPLATE, legend=legend, **sizes)
    return go.FigureWidget(grid)

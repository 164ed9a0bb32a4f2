"""A notebook widget: choose operator, blocks, alpha and prompt; text and next tokens follow.

    explorer = MergeExplorer(lm.load("tiny-instruct"), lm.load("tiny-thinker"))
    explorer.show()

The models are loaded once and never changed: every choice attaches other hooks, alpha 0 gives the
host's own text and bars. Runs in the notebook's kernel; there is no server.
"""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Tensor

from analyses.tokens.analysis import next_token_table
from figures import TEMPLATE
from figures.template import system_colors
from figures.token_text import visible
from lm_merge.accumulation import wide
from lm_merge.models import HookedLM
from lm_merge.operators import OPERATORS, needs_base
from lm_merge.scoring.texts import word_of
from lm_merge.spaces import LatentMerge

SYSTEMS = ("host", "donor", "merged")
WIDTH = 640  # pixels, of prompt, text and bars


class MergeExplorer:
    """Controls and two views of a merge of `host` and `donor`.

    The parts are ordinary ipywidgets: `operator`, `layers`, `alpha`, `prompt`, `text` and `bars`
    (a plotly FigureWidget), so that they can be read and set from code too.

    Needs the extra notebooks (ipywidgets, anywidget).
    """

    def __init__(
        self,
        host: HookedLM,
        donor: HookedLM,
        *,
        prompt: str = "47+38 = ?",
        chat: bool = True,
        max_new_tokens: int = 32,
        top_k: int = 4,
    ) -> None:
        import ipywidgets

        self.host, self.donor = host, donor
        self.chat, self.max_new_tokens, self.top_k = chat, max_new_tokens, top_k
        without_base = [name for name, one in OPERATORS.items() if not needs_base(one)]
        middle = host.n_layers // 2
        self.operator = ipywidgets.Dropdown(
            options=without_base, value="slerp", description="operator"
        )
        self.layers = ipywidgets.SelectMultiple(
            options=range(host.n_layers),
            value=(middle,),
            description="blocks",
            rows=min(host.n_layers, 8),
        )
        self.alpha = ipywidgets.FloatSlider(
            value=0.5, min=0, max=1, step=0.05, description="alpha", continuous_update=False
        )
        wide = {"width": f"{WIDTH}px"}
        self.prompt = ipywidgets.Text(
            value=prompt, description="prompt", continuous_update=False, layout=wide
        )
        self.text = ipywidgets.Textarea(description="merged", disabled=True, rows=3, layout=wide)
        self.bars = self._empty_bars()
        for control in (self.operator, self.layers, self.alpha, self.prompt):
            control.observe(lambda _: self.refresh(), names="value")
        self.refresh()

    def show(self) -> Any:
        """The whole as one widget: give it as the last line of a cell."""
        import ipywidgets

        controls = ipywidgets.VBox([self.operator, self.layers, self.alpha])
        views = ipywidgets.VBox([self.prompt, self.text, self.bars])
        return ipywidgets.HBox([controls, views])

    @torch.no_grad()
    def refresh(self) -> None:
        """Merge as the controls say, and put the new text and bars in their places.

        A merge that fails is reported in place of the text, without bars.
        """
        if not self.layers.value:
            self._refuse("choose at least one block")
            return
        try:
            text, table = self._merged()
        except ValueError as error:
            self._refuse(str(error))
            return
        self.text.value = text
        self._draw(table)

    def _refuse(self, reason: str) -> None:
        self.text.value = reason
        with self.bars.batch_update():
            for bar in self.bars.data:
                bar.x, bar.y = [], []

    def _merged(self) -> tuple[str, pd.DataFrame]:
        merge = LatentMerge(
            self.host,
            self.donor,
            operator=str(self.operator.value),
            layers=list(self.layers.value),
            alpha=self.alpha.value,
        )
        tokens = self.host.to_tokens(self.prompt.value, chat=self.chat).input_ids
        text = merge.generate(
            self.prompt.value,
            chat=self.chat,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
        )
        logits = {
            "host": self.host(tokens),
            "donor": self.donor(tokens),
            "merged": merge(tokens),
        }
        return text, self._table(logits)

    def _table(self, logits: dict[str, Tensor]) -> pd.DataFrame:
        n_tokens = min(self.host.n_token_rows, self.donor.n_token_rows)
        last = {
            name: wide(one[0, -1:, :n_tokens]).log_softmax(-1).cpu() for name, one in logits.items()
        }
        return next_token_table(last, [0], [""], word_of(self.host), self.top_k)

    def _empty_bars(self) -> Any:
        colors = system_colors(SYSTEMS)
        bars = [go.Bar(name=name, marker={"color": colors[name]}) for name in SYSTEMS]
        layout = {
            "template": TEMPLATE,
            "height": 340,
            "width": WIDTH,
            "barmode": "group",
            "margin": {"t": 30},
            "yaxis": {"title": {"text": "probability"}, "range": [0, 1]},
            "xaxis": {"title": {"text": "next token"}, "type": "category"},
        }
        return go.FigureWidget(bars, layout)

    def _draw(self, table: pd.DataFrame) -> None:
        wide = table.pivot(index="candidate", columns="system", values="probability")
        wide = wide.loc[wide.max(axis=1).sort_values(ascending=False).index]
        with self.bars.batch_update():
            for bar in self.bars.data:
                bar.x = [visible(token) or "(empty)" for token in wide.index]
                bar.y = wide[bar.name].tolist()

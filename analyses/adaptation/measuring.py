"""One system on a batch of items: its texts under every condition, and a row for every token of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.adaptation.attention import attention_by_part, attention_rows
from analyses.adaptation.conditions import CONDITIONS
from analyses.adaptation.config import AdaptationConfig
from analyses.adaptation.items import Encoded
from lm_merge.accumulation import wide
from lm_merge.contexts.blocks import Run
from lm_merge.contexts.cached import BlockCache
from lm_merge.contexts.operations import OPERATIONS, Injection, none, swap
from lm_merge.contexts.packed import Rows, groups_within, packed_rows
from lm_merge.contexts.writing import Written, write
from lm_merge.metrics import (
    adaptation_index,
    attribution,
    js_nats,
    kl_nats,
    log_bayes_factor_nats,
    log_ratio_nats,
    state_projection,
)
from lm_merge.scoring.texts import words_of
from lm_merge.spaces import Composed


@dataclass(frozen=True)
class Text:
    """The text of one item under one condition; `given.emitted` is all of it."""

    item: Encoded
    condition: str
    tau: int
    given: Injection
    ended: bool

    @property
    def key(self) -> dict[str, object]:
        """What its rows begin with; the oracle starts anew, whatever tau is."""
        return {"condition": self.condition, "tau": self.tau, "item": self.item.pair.id}

    def runs(self) -> tuple[Run, Run, Run]:
        """The text as it is written, under c0, and under c1 from its start."""
        actual = OPERATIONS[CONDITIONS[self.condition].operation](self.given)
        return actual, none(self.given), swap(replace(self.given, refeed=self.given.tau))


def texts_of(
    system: Composed, items: Sequence[Encoded], config: AdaptationConfig
) -> tuple[list[Text], list[dict[str, object]]]:
    """Every text that the system writes, and the items whose text ends before an injection."""
    cache = BlockCache(system)
    ends = end_ids(system)
    n_base = max(config.taus) + config.horizon
    starts = [none(item.injection(CONDITIONS["baseline"], (), 0, config)) for item in items]
    bases = _written(cache, starts, n_base, ends, config)
    waiting: list[tuple[Encoded, str, int, Injection]] = []
    found: list[Text] = []
    left_out: list[dict[str, object]] = []
    for item, base in zip(items, bases, strict=True):
        for tau in config.taus:
            if len(base.ids) <= tau:
                left_out.append({"item": item.pair.id, "tau": tau, "n_tokens": len(base.ids)})
                continue
            for name in config.conditions:
                condition = CONDITIONS[name]
                start = 0 if condition.from_start else tau
                given = item.injection(condition, base.ids[:start], start, config)
                if name == "baseline":
                    whole = base.ids[: tau + config.horizon]
                    ended = base.ended and len(base.ids) == len(whole)
                    again = item.injection(condition, whole, tau, config)
                    found.append(Text(item, name, tau, again, ended))
                else:
                    waiting.append((item, name, tau, given))
    runs = [OPERATIONS[CONDITIONS[name].operation](given) for _, name, _, given in waiting]
    for (item, name, tau, given), new in zip(
        waiting, _written(cache, runs, config.horizon, ends, config), strict=True
    ):
        whole = replace(given, emitted=given.emitted + new.ids)
        found.append(Text(item, name, tau, whole, new.ended))
    return found, left_out


def _written(
    cache: BlockCache,
    runs: Sequence[Run],
    n: int,
    ends: Sequence[int],
    config: AdaptationConfig,
) -> list[Written]:
    if not runs:
        return []
    return write(cache, runs, n, end_ids=ends, temperature=config.temperature, seed=config.seed)


def end_ids(system: Composed) -> list[int]:
    """Tokens that end a text of the host, of its generation settings."""
    native: Any = system.host.native
    given = native.generation_config.eos_token_id
    return [] if given is None else [given] if isinstance(given, int) else list(given)


def measure(
    system: Composed, texts: Sequence[Text], config: AdaptationConfig
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tables of tokens, of projections (one row a block and token) and of attention (a row a block of
    the model and part of the context); texts of one token at least.
    """
    tokens, projections, attention = [], [], []
    by_item: dict[str, list[Text]] = {}
    for text in texts:
        if len(text.given.emitted) > text.given.tau:
            by_item.setdefault(text.item.pair.id, []).append(text)
    runs = [[run for text in of_item for run in text.runs()] for of_item in by_item.values()]
    if not runs:
        return pd.DataFrame(), pd.DataFrame(), pd.DataFrame()
    rows = (
        one
        for group in groups_within(runs, system.host.n_token_rows)
        for one in packed_rows(system, group, states=config.states, attention=config.attention)
    )
    for of_item, of_rows in zip(by_item.values(), rows, strict=True):
        for place, text in enumerate(of_item):
            three = of_rows[3 * place : 3 * place + 3]
            tokens.append(_token_rows(system, text, three, config))
            if config.states:
                projections.append(_projections(text, three))
            if config.attention:
                parts = attention_by_part(three[0], text.runs()[0])
                attention.append(attention_rows(text.key, parts))
    return _joined(tokens), _joined(projections), _joined(attention)


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _token_rows(
    system: Composed, text: Text, rows: Sequence[Rows], config: AdaptationConfig
) -> pd.DataFrame:
    emitted = text.given.emitted[text.given.tau :]
    ids = torch.tensor(emitted)
    log_p, log_p0, log_p1 = (one.logits[:-1].float().log_softmax(-1) for one in rows)
    places = ids.unsqueeze(-1)
    of_tokens = [one.gather(-1, places).squeeze(-1).numpy() for one in (log_p0, log_p1)]
    ratios = log_ratio_nats(log_p0, log_p1, ids).numpy()
    between = _column(js_nats(log_p0, log_p1))
    table = pd.DataFrame(
        {
            **text.key,
            "cluster": text.item.pair.cluster or text.item.pair.id,
            "kind": text.item.pair.kind,
            "position": range(len(emitted)),
            "token": words_of(system.host, list(emitted)),
            "log_ratio_nats": ratios,
            "index": _column(adaptation_index(log_p, log_p0, log_p1)),
            "kl0_nats": _column(kl_nats(log_p, log_p0)),
            "kl1_nats": _column(kl_nats(log_p, log_p1)),
            "kl01_nats": _column(kl_nats(log_p0, log_p1)),
            "js1_nats": _column(js_nats(log_p, log_p1)),
            "js01_nats": between,
            "diagnostic": between > config.delta_nats,
            "attribution": attribution(*of_tokens),
            "log_bayes_nats": log_bayes_factor_nats(ratios),
        }
    )
    return table


def _column(values: Float[Tensor, "pos 1"]) -> Any:
    return wide(values.squeeze(-1)).cpu().numpy()


def _projections(text: Text, rows: Sequence[Rows]) -> pd.DataFrame:
    states = [one.states for one in rows]
    assert all(one is not None for one in states)
    beta, rest = state_projection(*(one[:, :-1] for one in states if one is not None))
    n_layers, n_tokens = beta.shape[:2]
    layers = torch.arange(n_layers).repeat_interleave(n_tokens)
    return pd.DataFrame(
        {
            **text.key,
            "layer": layers.numpy(),
            "position": torch.arange(n_tokens).repeat(n_layers).numpy(),
            "beta": wide(beta.flatten()).cpu().numpy(),
            "orthogonal": wide(rest.flatten()).cpu().numpy(),
        }
    )

"""What texts state in the end, and for bindings how many values are the new ones."""

from collections.abc import Sequence
from math import nan

import pandas as pd

from analyses.adaptation.measuring import Text
from lm_merge.evaluation.context_pairs.final_answer import states
from lm_merge.evaluation.context_pairs.schema import ContextPair
from lm_merge.models import HookedLM
from lm_merge.zoo.bindings import NAMES, VALUES


def answers_table(host: HookedLM, texts: Sequence[Text]) -> pd.DataFrame:
    """One row a text: the text after the injection, and whose answer it states.

    states: injected, original, both (they are equal, or the text has both), neither. new_frac, old_frac:
    for bindings the share of stated values that are c1's and c0's; else undefined.
    """
    rows = []
    for text in texts:
        new = host.tokenizer.decode(text.given.emitted[text.given.tau :])
        whole = host.tokenizer.decode(text.given.emitted)
        pair = text.item.pair
        shares = _stated_values(whole, len(text.given.emitted[: text.given.tau]), pair)
        stated = states(whole, pair) if pair.kind != "binding" else _stated(shares)
        rows.append(
            {
                **text.key,
                "cluster": pair.cluster or pair.id,
                "kind": pair.kind,
                "ended": text.ended,
                "states": stated,
                "new_frac": shares[0],
                "old_frac": shares[1],
                "text": new,
            }
        )
    return pd.DataFrame(rows)


def _stated_values(text: str, n_before: int, pair: ContextPair) -> tuple[float, float]:
    """Shares of the values stated after the injection that are c1's and c0's for their name."""
    if pair.kind != "binding":
        return nan, nan
    words = text.split()
    tables = []
    for context in (pair.alt_context, pair.context):
        inner = context.split()[1:-1]
        tables.append(dict(zip(inner[::2], inner[1::2], strict=True)))
    said = [
        (words[place - 1], words[place])
        for place in range(max(1, n_before), len(words))
        if words[place] in VALUES and words[place - 1] in NAMES
    ]
    if not said:
        return nan, nan
    new, old = (
        sum(table.get(name) == value for name, value in said) / len(said) for table in tables
    )
    return new, old


def _stated(shares: tuple[float, float]) -> str:
    new, old = shares
    if new > 0.5:
        return "injected"
    return "original" if old > 0.5 else "neither"

"""Where attention goes after an injection: shares on c0, c1 and the text, by block of the model."""

from collections.abc import Mapping
from math import nan

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.contexts.blocks import Run
from lm_merge.contexts.packed import Rows
from lm_merge.statistics.intervals import student_interval

PARTS = {"sink": "first token", "context": "c0", "shared": "c0", "injected": "c1"}
TEXT_PART = "text"  # what the system wrote itself


def attention_by_part(rows: Rows, run: Run) -> dict[str, Float[Tensor, "n_layers rows"]]:
    """Share of attention on each part of the context, mean over heads; {} where none was recorded.

    Parts: first token, c0, c1 (what was injected), text (what the system wrote itself).
    """
    if rows.attention is None:
        return {}
    shares = rows.attention.mean(dim=1)
    found: dict[str, Tensor] = {}
    for place, block in enumerate(run.blocks):
        part = PARTS.get(block.name, TEXT_PART)
        found[part] = found.get(part, torch.zeros_like(shares[..., 0])) + shares[..., place]
    return found


def attention_rows(
    key: Mapping[str, object], parts: Mapping[str, Float[Tensor, "n_layers rows"]]
) -> pd.DataFrame:
    """Mean share over the tokens after the injection, a row a block of the model and part."""
    return pd.DataFrame(
        {**key, "layer": layer, "part": part, "share": float(of_tokens[:-1].mean())}
        for part, shares in parts.items()
        for layer, of_tokens in enumerate(shares)
    )


def attention_table(attention: pd.DataFrame) -> pd.DataFrame:
    """Mean share of attention by block and part of the context, and its difference from repetition.

    The difference is taken item by item, with its 95 % t interval: more text takes attention whatever
    is in it. Undefined where condition repetition was not run. n items.
    """
    columns = ["system", "condition", "tau", "layer", "part"]
    at = ["system", "tau", "item", "layer", "part"]
    repeated = attention.loc[attention["condition"] == "repetition"].set_index(at)["share"]
    own = pd.MultiIndex.from_frame(attention.loc[:, at])
    attention = attention.assign(difference=attention["share"] - repeated.reindex(own).to_numpy())
    rows = []
    for _, of_key in attention.groupby(columns, sort=False):
        differences = of_key["difference"].to_numpy(dtype=float)
        mean, n = float(differences.mean()), len(differences)
        error = float(differences.std(ddof=1)) / n**0.5 if n > 1 else nan
        low, high = student_interval(mean, error, n - 1)
        of_group = of_key.iloc[0]
        named = {name: of_group[name] for name in columns}
        share = float(of_key["share"].to_numpy(dtype=float).mean())
        rows.append({**named, "share": share, "difference": mean, "low": low, "high": high, "n": n})
    return pd.DataFrame(rows)

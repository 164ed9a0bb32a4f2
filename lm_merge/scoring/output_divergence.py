"""Divergence of a merge's next-token distributions from its parents', in any space."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from lm_merge.generation import EncodedPrompts
from lm_merge.metrics import js_nats, kl_nats
from lm_merge.scoring.compositions import Compositions
from lm_merge.statistics.clustered_means import ClusteredMean

DIVERGENCES = {"kl": kl_nats, "js": js_nats}


@torch.no_grad()
def output_table(merges: Compositions, batches: Sequence[EncodedPrompts]) -> pd.DataFrame:
    """How far a merge's next-token distributions lie from its parents', at every real token.

    Columns space, operator, alpha, metric, value, standard_error, low and high (95 %; tokens of a
    text are one cluster), n (tokens). Metrics in nats: kl_host and kl_donor are KL(merge || parent),
    js_host and js_donor Jensen-Shannon divergences, js_parents that of the two parents. Distributions
    are over the tokens: rows of the unembeddings without one are padding and left out.
    """
    n_rows = min(merges.host.n_token_rows, merges.donor.n_token_rows)
    means: dict[tuple[float, str], ClusteredMean] = {}
    for batch in batches:
        assert batch.attention_mask is not None  # texts always come with one
        ids, mask = batch.input_ids, batch.attention_mask
        parents = {"host": merges.host(ids, mask), "donor": merges.donor(ids, mask)}
        for alpha, entered in merges.at.items():
            with entered() as model:
                merged = model(ids, mask)
            for metric, values in _divergences(merged, parents, n_rows).items():
                values = values.masked_fill(~mask.bool(), torch.nan)
                means.setdefault((alpha, metric), ClusteredMean()).update(values)
    rows = []
    for (alpha, metric), mean in means.items():
        rows.append({"alpha": alpha, "metric": metric, **mean.result().row()})
    table = pd.DataFrame(rows)
    return table.assign(operator=merges.recipe.operator, space=merges.recipe.space)


def _divergences(merged: Tensor, parents: dict[str, Tensor], n_rows: int) -> dict[str, Tensor]:
    """Divergences by name [batch, pos], text by text, so that few logits stand in float32 at once."""
    found: dict[str, list[Tensor]] = {}
    for row in range(len(merged)):
        own = merged[row, :, :n_rows].float()
        theirs = {name: one[row, :, :n_rows].to(own) for name, one in parents.items()}
        for key, divergence in DIVERGENCES.items():
            for name, logits in theirs.items():
                found.setdefault(f"{key}_{name}", []).append(divergence(own, logits))
        found.setdefault("js_parents", []).append(js_nats(theirs["host"], theirs["donor"]))
    return {metric: torch.stack(values).squeeze(-1) for metric, values in found.items()}

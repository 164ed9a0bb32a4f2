"""What a merge costs the host: divergence from both parents along the host's own replies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.running.text_choice import in_parts
from lm_merge.metrics import kl_nats
from lm_merge.models import HookedLM
from lm_merge.scoring.texts import Texts, encode_replies
from lm_merge.spaces import Composed
from lm_merge.statistics.clustered_means import ClusteredMean
from lm_merge.statistics.intervals import wilson_interval

AT_ONCE = 4  # texts a forward pass: their logits over a large vocabulary stand in memory


@dataclass(frozen=True)
class HostReplies:
    """Prompts with the host's replies, and both parents, whose predictions are computed once and kept.

    models: gives host and donor, by these names; called only if something is to be computed.
    """

    models: Callable[[], dict[str, HookedLM]]
    pairs: tuple[tuple[str, str], ...]  # prompt, reply

    @cached_property
    def texts(self) -> list[Texts]:
        """The texts, so many at a time."""
        host = self.models()["host"]
        return [encode_replies(host, part) for part in in_parts(self.pairs, AT_ONCE)]

    @cached_property
    def parents(self) -> dict[str, list[list[Tensor]]]:
        """Parent -> batch -> text -> logits [n, d_vocab] where a token of the reply is predicted."""
        return {
            name: [self._logits(model, texts) for texts in self.texts]
            for name, model in self.models().items()
        }

    def divergences(self, system: Composed) -> pd.DataFrame:
        """One row a token of the replies: prompt (its number), kl_host and kl_donor in nats.

        KL(merge || parent) of the next-token distributions, as in `output_table`.
        """
        rows: list[pd.DataFrame] = []
        parents = self.parents
        for batch, texts in enumerate(self.texts):
            for row, own in enumerate(self._logits(system, texts)):
                found = {
                    f"kl_{name}": kl_nats(own, logits[batch][row]).flatten().tolist()
                    for name, logits in parents.items()
                }
                rows.append(pd.DataFrame(found).assign(prompt=batch * AT_ONCE + row))
        return pd.concat(rows, ignore_index=True)

    @torch.no_grad()
    def _logits(self, system: Composed, texts: Texts) -> list[Float[Tensor, "n d_vocab"]]:
        models = self.models()
        n_rows = min(model.n_token_rows for model in models.values())
        logits = system(texts.tokens, texts.attention_mask)[..., :n_rows]
        return [
            one[predicts].float().to(models["host"].device)
            for one, predicts in zip(logits, reply_columns(texts), strict=True)
        ]


def reply_columns(texts: Texts) -> Tensor:
    """Columns whose next token belongs to a reply, its end token left out [batch, pos]."""
    following = texts.answer.roll(-1, dims=1)
    following[:, -1] = False
    last = following & ~following.roll(-1, dims=1)
    return following & ~last


def cost_rows(divergences: pd.DataFrame) -> list[dict[str, float | int | str]]:
    """Rows metric, value, low, high (95 %), n of a table of `HostReplies.divergences`.

    kl_host, kl_donor: means over tokens in nats; tokens of a prompt are one cluster. nearer_donor:
    share of the prompts whose mean divergence from the donor is below that from the host.
    """
    found: list[dict[str, float | int | str]] = []
    for metric in ("kl_host", "kl_donor"):
        mean = ClusteredMean()
        for _, values in divergences.groupby("prompt")[metric]:
            mean.update(torch.tensor(values.to_numpy()).unsqueeze(0))
        row = mean.result().row()
        found.append({"metric": metric, **{key: row[key] for key in ("value", "low", "high", "n")}})
    by_prompt = divergences.pivot_table(
        index="prompt", values=["kl_host", "kl_donor"], aggfunc="mean"
    )
    from_donor, from_host = by_prompt["kl_donor"].to_numpy(), by_prompt["kl_host"].to_numpy()
    n_nearer = int(np.count_nonzero(from_donor < from_host))
    low, high = wilson_interval(n_nearer, len(by_prompt))
    share = {"value": n_nearer / len(by_prompt), "low": low, "high": high, "n": len(by_prompt)}
    return [*found, {"metric": "nearer_donor", **share}]


def with_reply(prompts: Sequence[str], replies: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Prompts and the replies that are not empty. Raises ValueError where all are."""
    pairs = tuple(
        (one, reply) for one, reply in zip(prompts, replies, strict=True) if reply.strip()
    )
    if not pairs:
        raise ValueError(f"the host gives none of {len(prompts)} prompts a reply; give others")
    return pairs

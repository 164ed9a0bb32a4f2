"""A text that is written token by token, into which a context is injected at any moment."""

from dataclasses import dataclass, replace
from math import nan

import torch
from torch import Tensor

from analyses.adaptation.attention import attention_by_part
from analyses.adaptation.config import AdaptationConfig
from analyses.adaptation.items import Encoded, encoded
from analyses.adaptation.measuring import end_ids
from lm_merge.contexts.operations import Injection, append, none, swap
from lm_merge.contexts.packed import Rows, packed_rows
from lm_merge.evaluation.context_pairs.schema import ContextPair
from lm_merge.metrics import adaptation_index, attribution, js_nats, log_ratio_nats
from lm_merge.spaces import Composed, LatentMerge, LogitEnsemble


@dataclass(frozen=True)
class Step:
    """One token as it was written.

    alpha: the donors' weight at that moment, NaN where there is none. index (0 as c0, 1 as c1),
    log_ratio_nats (above 0 the token favours c1) and attribution: NaN and "" before an injection.
    diagnostic: the two contexts differ at this token by more than delta_nats.
    attention: part of the context -> share, mean over layers and heads; {} where it cannot be read.
    """

    token: int
    text: str
    alpha: float = nan
    index: float = nan
    log_ratio_nats: float = nan
    attribution: str = ""
    diagnostic: bool = False
    attention: dict[str, float] | None = None


class LiveText:
    """What a system writes under a context, greedily, and under one that is injected while it writes.

    Every step computes all of the text anew, in one forward pass: as it is written, under c0 alone and
    under c1 from the start. So the rows after a change of alpha are those of the merge at the new alpha,
    and the tokens before it stay as they were written.
    """

    def __init__(self, system: Composed, context: str, config: AdaptationConfig) -> None:
        self.system, self.context, self.config = system, context, config
        self.steps: list[Step] = []
        self.ended = False
        self.tau: int | None = None
        self._item = self._encoded(context)
        self._looks = True

    @property
    def alpha(self) -> float | None:
        """The donors' weight of a merge of latents or logits; None for any other system."""
        return alpha_of(self.system)

    def inject(self, context: str) -> None:
        """Put a new context after the text so far. Raises ValueError for a second one."""
        if self.tau is not None:
            raise ValueError("a context was injected already; start anew to inject another")
        self._item = self._encoded(context)
        self.tau = len(self.steps)

    def step(self) -> Step | None:
        """Write the next token; None where the text ends."""
        if self.ended:
            return None
        rows = self._rows()
        log_p = [one.logits[-1].float().log_softmax(-1) for one in rows]
        token = int(log_p[0].argmax())
        if token in end_ids(self.system):
            self.ended = True
            return None
        found = Step(
            token, self._piece(token), alpha=nan if self.alpha is None else float(self.alpha)
        )
        if len(rows) > 1:
            found = _compared(found, log_p, self.config.delta_nats)
        found = replace(found, attention=self._attention(rows[0]))
        self.steps.append(found)
        return found

    def _encoded(self, injected: str) -> Encoded:
        pair = ContextPair(id="live", kind="live", context=self.context, alt_context=injected)
        if not self.context.strip() or not injected.strip():
            raise ValueError("the context is empty; write one")
        (item,) = encoded(self.system.host, [pair], self.config)
        return item

    def _given(self) -> Injection:
        item, emitted = self._item, tuple(one.token for one in self.steps)
        tau = len(emitted) if self.tau is None else self.tau
        return Injection(
            before=item.before,
            after=item.after,
            injected=item.injected,
            emitted=emitted,
            tau=tau,
            refeed=min(self.config.refeed, tau),
            n_shared=item.n_shared,
            keep_sink=self.config.keep_sink,
        )

    def _rows(self) -> list[Rows]:
        given = self._given()
        runs = [none(given)]
        if self.tau is not None:
            runs = [append(given), none(given), swap(replace(given, refeed=given.tau))]
        if self._looks:
            try:
                return packed_rows(self.system, [runs], attention=True)[0]
            except ValueError:  # attention without shares; another fault is raised below, too
                self._looks = False
        return packed_rows(self.system, [runs])[0]

    def _piece(self, token: int) -> str:
        """The text that a token adds; tokenizers join words by blanks, or keep them in their tokens."""
        before = [one.token for one in self.steps]
        decode = self.system.host.tokenizer.decode
        return str(decode([*before, token]))[len(str(decode(before))) :]

    def _attention(self, rows: Rows) -> dict[str, float]:
        given = self._given()
        run = none(given) if self.tau is None else append(given)
        parts = attention_by_part(rows, run)
        return {part: float(shares[:, -1].mean()) for part, shares in parts.items()}


def _compared(step: Step, log_p: list[Tensor], delta_nats: float) -> Step:
    own, zero, one = (row.unsqueeze(0) for row in log_p)
    token = torch.tensor([step.token])
    ratio = float(log_ratio_nats(zero, one, token)[0])
    of_token = [row[:, step.token].numpy() for row in (zero, one)]
    return replace(
        step,
        index=float(adaptation_index(own, zero, one)[0, 0]),
        log_ratio_nats=ratio,
        attribution=attribution(*of_token)[0],
        diagnostic=float(js_nats(zero, one)[0, 0]) > delta_nats,
    )


def alpha_of(system: Composed) -> float | None:
    """The donors' one weight, which can be changed while a merge generates; None where there is none."""
    if not isinstance(system, LatentMerge | LogitEnsemble):
        return None
    return float(system.alpha) if isinstance(system.alpha, int | float) else None

"""What a user would do without this library, written plainly: both models whole."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from lm_merge.operators import slerp


def generate_published(
    host: Any,
    donor: Any,
    layer: int,
    alpha: float,
    ids: Tensor,
    **given: Any,
) -> Tensor:
    """The published method: both models run whole, their states at one block are interpolated."""
    state: dict[str, Any] = {}
    weights = torch.tensor([1 - alpha, alpha]).view(2, 1, 1, 1)

    def run_donor(module: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        cache = keywords["past_key_values"]
        if cache.get_seq_length() == 0:
            state["cache"] = DynamicCache(config=donor.config)
        donor(
            input_ids=keywords["input_ids"],
            attention_mask=keywords.get("attention_mask"),
            position_ids=keywords.get("position_ids"),
            past_key_values=state["cache"],
        )

    def keep(module: Any, inputs: Any, output: Tensor) -> None:
        state["donor"] = output

    def merge(module: Any, inputs: Any, output: Tensor) -> Tensor:
        return slerp(torch.stack([output, state["donor"]]), weights)

    handles = [
        host.register_forward_pre_hook(run_donor, with_kwargs=True),
        donor.get_decoder().layers[layer].register_forward_hook(keep),
        host.get_decoder().layers[layer].register_forward_hook(merge),
    ]
    try:
        return host.generate(ids, **given)
    finally:
        for handle in handles:
            handle.remove()


class _MeanOfTwo(LogitsProcessor):
    """Mean of two models' next-token probabilities."""

    def __init__(self, other: PreTrainedModel) -> None:
        self.other = other
        self.cache = DynamicCache(config=other.config)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        new = input_ids[:, self.cache.get_seq_length() :]
        output = self.other(new, past_key_values=self.cache, logits_to_keep=1)
        theirs = output.logits[:, -1].float().softmax(-1)
        return ((scores.softmax(-1) + theirs) / 2).log()


def generate_ensemble(host: Any, donor: Any, ids: Tensor, **given: Any) -> Tensor:
    """Logit ensemble: both models whole, their next-token distributions averaged."""
    processors = LogitsProcessorList([_MeanOfTwo(donor)])
    return host.generate(ids, logits_processor=processors, **given)

"""Training on one skill while the base's replies to all others are kept, by their divergence."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import Trainer

from lm_merge.metrics.divergence import kl_nats
from lm_merge.zoo.build import IGNORED_LABEL, ChatExamples


class ReplayExamples(Dataset):
    """Batches of examples to learn followed by examples to replay, which have `replayed` 1.

    n_own, n_replayed: examples of either kind a batch.
    """

    def __init__(self, own: ChatExamples, replayed: ChatExamples, n_own: int, n_replayed: int):
        self.examples: list[dict[str, Any]] = []
        for number in range(len(own) // n_own):
            for kind, (examples, n) in enumerate(((own, n_own), (replayed, n_replayed))):
                places = range(number * n, (number + 1) * n)
                self.examples += [examples[place] | {"replayed": kind} for place in places]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.examples[index]


class ReplayTrainer(Trainer):
    """Learns an adapter from `ReplayExamples`; every label position of a step counts the same.

    The loss at a position is the cross-entropy of the next token in examples to learn, and
    KL(base || adapted) in examples to replay.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of a micro-batch, in nats, over the number of label positions of the step."""
        given = {key: inputs[key] for key in ("input_ids", "attention_mask")}
        outputs = model(**given)
        kinds, labels = inputs["replayed"].bool(), inputs["labels"][:, 1:]
        own = cross_entropy(
            outputs.logits[~kinds, :-1].flatten(0, 1),
            labels[~kinds].flatten(),
            ignore_index=IGNORED_LABEL,
            reduction="sum",
        )
        adapted = self.accelerator.unwrap_model(model)
        kept = _divergence(adapted, outputs.logits, given, kinds, labels != IGNORED_LABEL)
        n = num_items_in_batch
        loss = (own + kept) / ((labels != IGNORED_LABEL).sum() if n is None else n)
        return (loss, outputs) if return_outputs else loss


def _divergence(
    adapted: Any,
    logits: Float[Tensor, "batch pos d_vocab"],
    given: dict[str, Tensor],
    kinds: Tensor,
    labelled: Tensor,
) -> Float[Tensor, ""]:
    """Sum of KL(base || adapted) over the label positions of the examples to replay."""
    if not kinds.any():
        return logits.new_zeros(())
    with torch.no_grad(), adapted.disable_adapter():
        base = adapted(**{key: value[kinds] for key, value in given.items()}).logits
    at = labelled[kinds]
    return kl_nats(base[:, :-1][at], logits[kinds, :-1][at]).sum()

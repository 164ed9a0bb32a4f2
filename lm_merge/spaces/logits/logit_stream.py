"""A model that computes its own next-token logits next to a host, on the host's tokens."""

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, DynamicCache

from lm_merge.models import HookedLM
from lm_merge.models.forward_pass import token_positions
from lm_merge.models.weight_sharing import follow_training_mode, weight_sharing_copy


class LogitStream:
    """A whole model, run as a twin over its own parameters, so that hooks on it do not act here."""

    def __init__(self, model: HookedLM) -> None:
        assert model.native is not None
        self._native = model.native
        self._twin: Any = weight_sharing_copy(model.native)
        self._takes = set(inspect.signature(self._twin.forward).parameters)

    @property
    def twin(self) -> Any:
        """The modules that run."""
        return self._twin

    def new_cache(self) -> DynamicCache:
        """An empty cache for this model's blocks."""
        return DynamicCache(config=self._twin.config)

    def logits(self, host: Any, keywords: dict[str, Any], cache: Cache | None) -> Tensor:
        """Logits for what the host's forward was given: `keywords`, at the positions kept there."""
        follow_training_mode(self._twin, self._native)
        device = self._twin.device
        ids, mask = keywords["input_ids"], keywords.get("attention_mask")
        positions = keywords.get("position_ids")
        if mask is not None:
            self._check_mask(mask, positions)
        if positions is None and mask is not None and not _takes_positions(host):
            positions = token_positions(mask)[:, -ids.shape[1] :]
        given = {"attention_mask": mask, "position_ids": positions}
        given["logits_to_keep"] = keep = keywords.get("logits_to_keep", 0)
        chosen = {
            key: value.to(device) if isinstance(value, Tensor) else value
            for key, value in given.items()
            if key in self._takes
        }
        logits = self._twin(
            input_ids=ids.to(device),
            past_key_values=cache,
            use_cache=cache is not None,
            return_dict=True,
            **chosen,
        ).logits
        return logits if "logits_to_keep" in self._takes else _kept(logits, keep)

    def _check_mask(self, mask: Any, positions: Tensor | None) -> None:
        """Raise ValueError for a mask that this model would read otherwise than the host."""
        if not isinstance(mask, Tensor) or mask.ndim not in (2, 4):
            raise ValueError(
                "an ensemble takes an attention_mask [batch, pos], of which each model makes its own, "
                "or a finished one [batch, 1, new, pos]"
            )
        kinds = set(getattr(self._twin.config, "layer_types", None) or ())
        if mask.ndim == 4 and (positions is None or len(kinds) > 1):
            raise ValueError(
                "a finished attention_mask [batch, 1, new, pos] needs position_ids next to it, and "
                f"models with one kind of attention layer; here are {sorted(kinds)}"
            )


def at_width(
    logits: Float[Tensor, "*batch d_own"], d_vocab: int
) -> Float[Tensor, "*batch d_vocab"]:
    """Logits over another number of rows; cut, or filled with minus infinity: a row it does not have.

    Rows that two models of one tokenizer do not share are padding and stand for no token.
    """
    return pad(logits[..., :d_vocab], (0, max(0, d_vocab - logits.shape[-1])), value=-torch.inf)


def _takes_positions(host: Any) -> bool:
    return "position_ids" in inspect.signature(type(host).forward).parameters


def _kept(logits: Tensor, keep: int | Tensor) -> Tensor:
    return logits[:, keep if isinstance(keep, Tensor) else slice(-keep, None)]

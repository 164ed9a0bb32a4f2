"""The harness's model of a merge: its own Hugging Face model, called inside the merge's hooks.

Import it through `lm_merge.evaluation.engines.harness.register`; it needs lm-evaluation-harness.
"""

import copy
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import simple_parse_args_string

from lm_merge.evaluation.prompting import template_errors
from lm_merge.generation import require_tokenizer, with_tokens_only
from lm_merge.recipes import Recipe
from lm_merge.recipes.recipe import is_recipe_file
from lm_merge.spaces import Composed, system

_LOG = logging.getLogger(__name__)
_HFLM: Any = HFLM  # its decorator hides its type
PASSED_ON = (
    "batch_size",
    "max_batch_size",
    "max_length",
    "truncation",
    "logits_cache",
    "softmax_dtype",
    "mixed_precision_dtype",
    "add_bos_token",
    "prefix_token_id",
    "think_end_token",
    "enable_thinking",
    "chat_template_args",
)
Request = tuple[Any, list[int], list[int]]  # texts or None, context ids, continuation ids


@runtime_checkable
class MergesFromPrompt(Protocol):
    """A composition in which it may count where the prompt ends, such as a latent merge."""

    @property
    def positions(self) -> str: ...
    @property
    def layers(self) -> Mapping[int, Any]: ...
    def after_prompt(self, n_columns: int) -> AbstractContextManager[None]:
        """Inside, the prompts of a batch end after so many columns."""
        ...


class MergedLM(_HFLM):
    """A merge, or a model alone, as a model of lm-evaluation-harness.

    recipe: YAML file, dict or Recipe, a model's name, or what is loaded already (`Composed`).
    device, dtype: as in `lm.compose`. The harness asks for "cuda:0" unless a device is given, so a CUDA
        device that is not there means the CPU, as in its own adapter.
    harness_arguments: those of the harness's `hf` model that are not about loading, `PASSED_ON`; all
        others are refused.

    Scoring, batching, chat template and stopping are the harness's. The tokenizer is the host's.
    With positions="last" (or a gate) the prompt of a scored text is its context: merging starts at
    the context's last token, as it would in generation. As in the harness's own adapter, a
    max_new_tokens in the host's generation settings comes before a task's max_gen_toks. One process.
    """

    def __init__(
        self,
        recipe: str | Path | dict[str, Any] | Recipe | Composed,
        *,
        device: str | torch.device | None = None,
        dtype: str | None = None,
        **harness_arguments: Any,
    ) -> None:
        unknown = sorted(set(harness_arguments) - set(PASSED_ON))
        if unknown:
            raise ValueError(
                f"model_args {', '.join(unknown)}: unknown to lm_merge; the recipe names the models. "
                f"Choose from recipe, device, dtype, {', '.join(PASSED_ON)}"
            )
        composed = system(recipe, device=_present(device), dtype=dtype)
        host = composed.host
        if host.native is None:
            raise ValueError(
                f"host {host.name!r} is a HookedTransformer, which has no native view; load it by name"
            )
        tokenizer = copy.deepcopy(require_tokenizer(host.tokenizer, host.name))  # gets a pad token
        self.composed = composed
        self._recipe = _as_data(recipe)
        super().__init__(pretrained=host.native, tokenizer=tokenizer, **harness_arguments)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> "MergedLM":
        """The model that `model_args` describes, as one text; see `create_from_arg_obj`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "MergedLM":
        """The model that `model_args` describes; what it gives replaces the harness's own options.

        The harness always gives a device, so `device=cpu` in model_args would come twice.
        """
        options = {key: one for key, one in (additional_config or {}).items() if one is not None}
        return cls(**options | arg_dict)

    def loglikelihood(self, *arguments: Any, **keywords: Any) -> list[tuple[float, bool]]:
        with self.composed.hooks():
            return super().loglikelihood(*arguments, **keywords)

    def loglikelihood_rolling(self, *arguments: Any, **keywords: Any) -> list[float]:
        with self.composed.hooks():
            return super().loglikelihood_rolling(*arguments, **keywords)

    def generate_until(self, *arguments: Any, **keywords: Any) -> list[str]:
        with self.composed.hooks():
            return super().generate_until(*arguments, **keywords)

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], *arguments: Any, **keywords: Any
    ) -> list[tuple[float, bool]]:
        """Where the end of the prompt counts, requests whose prompts are of one length at a time.

        The harness pads on the right, so these prompts end in the same column.
        """
        merge = self.composed
        if not (isinstance(merge, MergesFromPrompt) and _depends_on_prompt_end(merge)):
            return super()._loglikelihood_tokens(requests, *arguments, **keywords)
        of_length: dict[int, list[int]] = defaultdict(list)
        for index, (_, context, continuation) in enumerate(requests):
            room = self.max_length + 1 - len(continuation)  # the harness cuts contexts on the left
            of_length[min(len(context), room)].append(index)
        scores: dict[int, tuple[float, bool]] = {}
        for n_tokens, indices in of_length.items():
            with merge.after_prompt(n_tokens):
                some = [requests[index] for index in indices]
                found = super()._loglikelihood_tokens(some, *arguments, **keywords)
            scores.update(zip(indices, found, strict=True))
        return [scores[index] for index in range(len(requests))]

    def _model_generate(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
        """The harness's own, which never draws an id without a token."""
        keywords = with_tokens_only(keywords, self.composed.host.tokenizer)
        return super()._model_generate(*arguments, **keywords)

    def apply_chat_template(self, *arguments: Any, **keywords: Any) -> str:
        """The harness's own, with errors that name the model and the remedy."""
        with template_errors(self.tokenizer, "leave out --apply_chat_template, or correct it"):
            return super().apply_chat_template(*arguments, **keywords)

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes into its results: the composition, not one model's commit."""
        host = self.composed.host
        return {
            "model_name": self.composed.name,
            "model_dtype": str(host.dtype),
            "model_sha": host.commit or "",
            "recipe": self._recipe,
        }


def _depends_on_prompt_end(merge: MergesFromPrompt) -> bool:
    """Whether what is merged depends on where the prompt ends."""
    return merge.positions == "last" or any(map(callable, merge.layers.values()))


def _present(device: str | torch.device | None) -> str | torch.device | None:
    if device is None or torch.device(device).type != "cuda" or torch.cuda.is_available():
        return device
    _LOG.info("device %s: torch sees no CUDA device here; running on the CPU", device)
    return "cpu"


def _as_data(recipe: str | Path | dict[str, Any] | Recipe | Composed) -> Any:
    """The recipe for a record: its content, or the name where that is all there is."""
    if isinstance(recipe, Recipe):
        return recipe.model_dump(mode="json")
    if isinstance(recipe, (str, Path)) and is_recipe_file(recipe):
        return Recipe.load(recipe).model_dump(mode="json")
    return recipe.name if isinstance(recipe, Composed) else recipe

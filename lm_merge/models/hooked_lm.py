"""One language model seen two ways: hooked by TransformerLens, and as plain Hugging Face modules."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lm_merge import generation
from lm_merge.generation.static.arguments import require_dynamic
from lm_merge.generation.static.decoding import StaticDecoding
from lm_merge.generation.static.plain import PlainSystem
from lm_merge.models.bridging import LateBridge
from lm_merge.models.forward_pass import token_positions
from lm_merge.models.hooked_transformer import generate_ids
from lm_merge.models.view_check import checked_view
from lm_merge.recipes import Source
from lm_merge.threads import fit_threads

_MERGES: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()  # module -> the merge on it


class HookedLM:
    """A model with its tokenizer and two views of one set of weights; made by `load` or `wrap`.

    hooked: TransformerLens model, every hook point, eager attention: for looking. Built when first
        asked for.
    native: plain Hugging Face model over the same parameters: for speed. None where only a
    HookedTransformer was given.
    tokenizer: None for a model that came without tokenizer files.
    source: what `load` was given, for recipes; the name where the model came from memory.
    in_memory_only: True if this model exists only in memory and cannot be reloaded.

    >>> import lm_merge as lm
    >>> model = lm.load("tiny-instruct")
    >>> tokens = model.to_tokens("12+34 = ?").input_ids
    >>> logits, cache = model.hooked.run_with_cache(tokens)
    >>> cache["resid_post", 3].shape == (*tokens.shape, model.d_model)
    True
    """

    def __init__(
        self,
        hooked: Any,
        native: PreTrainedModel | None,
        tokenizer: PreTrainedTokenizerBase | None,
        name: str,
        source: Source | None = None,
    ) -> None:
        self._hooked = hooked  # the view, or the LateBridge that makes it
        self.native = native
        self.tokenizer: Any = tokenizer
        self.name = name
        self.source: Source = source or name
        self.in_memory_only = False
        self._views_differ: str | None = None  # how, if they did when the hooked view was built
        fit_threads(sum(parameter.numel() for parameter in (native or hooked).parameters()))

    def __repr__(self) -> str:
        return (
            f"HookedLM({self.name!r}, n_layers={self.n_layers}, d_model={self.d_model}, "
            f"d_vocab={self.d_vocab})"
        )

    @property
    def hooked(self) -> Any:
        """The TransformerLens view."""
        if isinstance(self._hooked, LateBridge):
            self._hooked = self._hooked.bridge
            assert self.native is not None  # a late bridge is built around one
            self._views_differ = checked_view(self._hooked, self.native, self.name)
        return self._hooked

    def require_equal_views(self, what: str) -> Any:
        """The hooked view; ValueError where it gave other logits than the native one when built."""
        hooked = self.hooked
        if self._views_differ is not None:
            raise ValueError(f"{what} reads the hooked view, and {self._views_differ}")
        return hooked

    @property
    def merge_attached(self) -> Any:
        """The merge whose hooks are on this model now; None without one.

        It belongs to the modules: two HookedLMs around one native model see the same.
        """
        return next((_MERGES[one] for one in self._modules() if one in _MERGES), None)

    @merge_attached.setter
    def merge_attached(self, merge: Any) -> None:
        for module in self._modules():
            if merge is None:
                _MERGES.pop(module, None)
            else:
                _MERGES[module] = merge

    def _modules(self) -> list[nn.Module]:
        """The modules that hooks of a merge are put on, in both views."""
        native = [] if self.native is None else [self.native.base_model]
        return [*native, *([] if isinstance(self._hooked, LateBridge) else [self._hooked])]

    @property
    def cfg(self) -> Any:
        """TransformerLens's configuration of the model, whether or not its view has been built."""
        return self._hooked.cfg

    @property
    def n_layers(self) -> int:
        """Blocks of the language model; of a model with further stacks, those of the text."""
        if self.native is None:
            return self.cfg.n_layers
        return self.native.config.get_text_config(decoder=True).num_hidden_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        if self.native is None:
            return self.cfg.d_model
        return self.native.config.get_text_config(decoder=True).hidden_size

    @property
    def d_vocab(self) -> int:
        """Rows of the unembedding; may exceed the number of tokens by padding rows."""
        if self.native is None:
            return self.cfg.d_vocab
        unembed: Any = self.native.get_output_embeddings()
        return unembed.weight.shape[0]

    @property
    def n_token_rows(self) -> int:
        """Rows of the unembedding up to the last one that stands for a token; the rest is padding."""
        if self.tokenizer is None:
            return self.d_vocab
        return min(self.d_vocab, generation.n_token_rows(self.tokenizer))

    @property
    def device(self) -> torch.device:
        return next(iter((self.native or self.hooked).parameters())).device

    @property
    def dtype(self) -> torch.dtype:
        return next(iter((self.native or self.hooked).parameters())).dtype

    @property
    def commit(self) -> str | None:
        """Commit of the hub's repository that the weights came from, if they did."""
        return None if self.native is None else getattr(self.native.config, "_commit_hash", None)

    def to(self, *arguments: Any, **keywords: Any) -> "HookedLM":
        """Move or cast both views, as `torch.nn.Module.to`; do it before merging with the model."""
        for view in (self._hooked, self.native):
            if view is not None and not isinstance(view, LateBridge):  # which takes what is there
                view.to(*arguments, **keywords)
        return self

    @cached_property
    def shares_weights(self) -> bool:
        """Whether the hooked view holds no weight matrix of its own.

        False for families whose bridge copies a weight (GPT-NeoX's fused attention input): there
        the copy costs its memory, and an edit of the native weight does not show in the hooked view.
        """
        if self.native is None:
            return True
        own = {parameter.data_ptr() for parameter in self.native.parameters()}
        return all(
            parameter.data_ptr() in own
            for parameter in self.hooked.parameters()
            if parameter.ndim > 1  # TransformerLens 3.9 adds a bias of zeros to the unembedding
        )

    def require_native(self, what: str) -> PreTrainedModel:
        """The native view; ValueError that says what needs it where there is none."""
        if self.native is None:
            raise ValueError(
                f"model {self.name!r} is a HookedTransformer; {what} needs the native view: load it "
                "with lm.load"
            )
        return self.native

    def native_blocks(self) -> nn.ModuleList:
        """The transformer blocks of the native view."""
        return self.native_part("blocks")

    def native_part(self, component: str) -> Any:
        """A part of the native view by TransformerLens's name: embed, blocks, ln_final, unembed."""
        assert self.native is not None  # callers have handled a model without native view
        return self.native.get_submodule(self.native_path(component))

    def native_path(self, component: str) -> str:
        """Where a part by TransformerLens's name hangs in the native view, such as model.layers."""
        return self._hooked.adapter.component_mapping[component].name

    def readout(self, state: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Logits that the model would give if the stream ended here (logit lens); no soft cap.

        Raises ValueError for a HookedTransformer.
        """
        self.require_native("the read-out")
        weight = self.native_part("unembed").weight
        normed = self.native_part("ln_final")(state.to(weight.device, weight.dtype))
        return self.native_part("unembed")(normed)

    @property
    def recipe_source(self) -> Source:
        """What a recipe calls this model; ValueError for one that no recipe can bring back."""
        if self.in_memory_only:
            raise ValueError(
                f"model {self.name!r} was merged in memory and is in no folder, so a recipe cannot name "
                "it; write it with lm.merge_weights and load that folder"
            )
        return self.source

    @property
    def host(self) -> "HookedLM":
        """Itself: a model alone is its own host, so that code for merges takes it too."""
        return self

    @contextmanager
    def hooks(self) -> Iterator["HookedLM"]:
        """The model unchanged: what `hooks` is for a merge, so that code for merges takes a model."""
        yield self

    def __call__(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """Logits of the native view (of the hooked one where there is no native).

        attention_mask: 0 for padding, on either side; positions are counted over real tokens.
        """
        tokens = tokens.to(self.device)
        attention_mask = None if attention_mask is None else attention_mask.to(self.device)
        if self.native is None:
            return self.hooked(tokens, attention_mask=attention_mask)
        position_ids = None
        if attention_mask is not None:
            position_ids = token_positions(attention_mask)
        return self.native(
            input_ids=tokens,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        ).logits

    @cached_property
    def decoding(self) -> StaticDecoding:
        """How this model alone decodes: its recorded steps, and which path the last call took."""
        return StaticDecoding(PlainSystem(self.require_native("static decoding"), self.name))

    def generate(
        self,
        prompts: generation.Prompts,
        *,
        max_new_tokens: int | None = None,
        chat: bool = False,
        attention_mask: Tensor | None = None,
        **arguments: Any,
    ) -> Any:
        """Continue prompts with this model alone: str -> new text, list -> list, ids -> ids.

        On a GPU with static caches and a recorded step where nothing forbids it; `static` and
        `compile` as in `StaticDecoding.generate`, `decoding.last` has the path taken.
        """
        encoded = generation.prepare(self.tokenizer, prompts, self.name, chat, attention_mask)
        return self.continue_prompts(encoded, max_new_tokens=max_new_tokens, **arguments)

    def continue_prompts(self, prompts: generation.EncodedPrompts, **arguments: Any) -> Any:
        """`generate` for prompts that are encoded already."""
        if self.native is None:
            require_dynamic(arguments, f"{self.name!r} is a HookedTransformer")
            output = generate_ids(
                self.hooked,
                prompts.input_ids,
                prompts.attention_mask,
                arguments.pop("max_new_tokens", None),
                arguments.pop("seed", None),
                **arguments,
            )
            return generation.in_form_of(prompts, output, self.tokenizer)
        decoding = self.decoding
        if "generate" in vars(self.native):  # of a merge, which decides with its own steps
            decoding = None
            if not hasattr(self.merge_attached, "decoding"):
                require_dynamic(arguments, f"generate of {self.name!r} was replaced")
        return generation.generate(
            self.native, self.tokenizer, prompts, decoding=decoding, **arguments
        )

    def check_length(
        self, prompts: generation.EncodedPrompts, max_new_tokens: int | None, arguments: Any
    ) -> None:
        """Raise ValueError where prompts and new tokens exceed what the model can read."""
        if self.native is not None:
            generation.check_length(self.native, prompts, max_new_tokens, arguments)

    def to_tokens(
        self, prompts: str | Sequence[str], *, chat: bool = False
    ) -> generation.EncodedPrompts:
        """Token ids and attention mask of prompts, padded on the left, on the model's device."""
        encoded = generation.prepare(self.tokenizer, prompts, self.name, chat)
        assert encoded.attention_mask is not None  # texts always come with one
        ids, mask = encoded.input_ids.to(self.device), encoded.attention_mask.to(self.device)
        return generation.EncodedPrompts(ids, mask, encoded.form)


def from_native(
    native: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    name: str,
    source: Source | None = None,
) -> HookedLM:
    """Add the hooked view: a bridge around a twin of the modules; the model given stays whole.

    The bridge is built when it is first asked for.
    """
    return HookedLM(LateBridge(native, tokenizer, name), native, tokenizer, name, source)

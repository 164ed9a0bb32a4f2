"""Merging in the residual stream: operators as hooks on resid_post, reversible at any time."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from lm_merge.coefficients import Alpha, alpha_from_lambda, donor_shares
from lm_merge.generation import Prompts, generate, prepare
from lm_merge.models import HookedLM, check_pair
from lm_merge.operators import get_operator, needs_base
from lm_merge.recipe import Recipe
from lm_merge.spaces.attachment import attach_hooked, attach_native
from lm_merge.spaces.cache import MergeCache
from lm_merge.spaces.latent_pass import LatentPass, StateMerge
from lm_merge.spaces.positions import POSITIONS, from_column, last_real, real_tokens
from lm_merge.spaces.schedule import Layers, check_alpha, layer_schedule
from lm_merge.spaces.streams import DonorStream, ForwardInputs

DONOR_STREAMS = ("pure", "coupled")


class LatentMerge:
    """A host whose residual stream takes in donors' streams at chosen blocks, in every forward pass.

    host, donors: models of one architecture (`check_pair`); one donor or a list.
    operator: name in `lm_merge.operators.OPERATORS`; operator_args: what it takes besides.
    layers: blocks whose resid_post is merged, from 0: a list with `alpha`, or {block: alpha}.
    alpha: the donors' total weight, 0 host .. 1 donor (not clamped: beyond, it extrapolates), or a
        gate: a callable of host and donor states [batch, pos, d_model] giving alpha [batch, pos, 1].
        For regmean `lambda_reg` may stand instead: alpha = 1 / (1 + lambda_reg).
    donor_weights: the donors' parts of alpha, equal unless given.
    base: common ancestor, for operators that need one (task_vector).
    positions: "all", or "last": every token from the last prompt token on.
    donor_stream: "pure": donors go on from their own states; "coupled": from the merged ones.
    accept: names of differences between the models to accept (`check_pair`).

    No weight changes: outside `hooks()` and the calls below, host and donors are as they were. Where
    every alpha is 0 the host's logits are bit-equal to its own.
    """

    def __init__(
        self,
        host: HookedLM,
        donors: HookedLM | Sequence[HookedLM],
        *,
        operator: str = "slerp",
        layers: Layers,
        alpha: Alpha | None = None,
        donor_weights: Sequence[float] | None = None,
        base: HookedLM | None = None,
        positions: str = "all",
        donor_stream: str = "pure",
        accept: Collection[str] = (),
        **operator_args: Any,
    ) -> None:
        donors = [donors] if isinstance(donors, HookedLM) else list(donors)
        if not donors:
            raise ValueError("donors is empty; give at least one model")
        if positions not in POSITIONS:
            raise ValueError(f"positions={positions!r} is unknown; choose from {POSITIONS}")
        if donor_stream not in DONOR_STREAMS:
            raise ValueError(f"donor_stream={donor_stream!r} is unknown; choose from {DONOR_STREAMS}")
        _check_base(operator, base)
        lambda_reg = operator_args.pop("lambda_reg", None)
        if lambda_reg is not None:
            alpha = _alpha_of(operator, lambda_reg, alpha, layers)
        self.host, self.donors, self.base = host, donors, base
        self.operator, self.positions, self.donor_stream = operator, positions, donor_stream
        self.accept = tuple(accept)
        self.layers = layer_schedule(layers, alpha, n_layers=host.n_layers, host_name=host.name)
        self.donor_weights = donor_weights
        shares = donor_shares(donor_weights, len(donors))
        self._merge_states = StateMerge(operator, shares, operator_args)
        others = [*donors, *([base] if base is not None else [])]
        self.notes = tuple(note for other in others for note in check_pair(host, other, accept))
        coupled = donor_stream == "coupled"
        self._streams = [DonorStream(one, list(self.layers), coupled=coupled) for one in others]
        self._id = uuid.uuid4().hex
        self._prompt_length: int | None = None
        self._pass: LatentPass | None = None
        self._attached = {"native": False, "hooked": False}

    def __repr__(self) -> str:
        names = ", ".join(donor.name for donor in self.donors)
        return f"LatentMerge({self.host.name!r} + {names}, {self.operator}, layers={self.layers})"

    @property
    def alpha(self) -> Alpha | dict[int, Alpha]:
        """The donors' weight: one value if all merged blocks share it, else block -> value."""
        values = list(self.layers.values())
        return values[0] if all(value is values[0] or value == values[0] for value in values) else {
            **self.layers
        }

    @alpha.setter
    def alpha(self, value: Alpha | Mapping[int, Alpha]) -> None:
        """Set it for all merged blocks, or block by block; takes effect at the next forward pass."""
        new = dict(value) if isinstance(value, Mapping) else dict.fromkeys(self.layers, value)
        unknown = sorted(set(new) - set(self.layers))
        if unknown:
            raise ValueError(f"layers {unknown} are not merged here; merged are {list(self.layers)}")
        for one in new.values():
            check_alpha(one)
        self.layers = self.layers | new

    @property
    def recipe(self) -> Recipe:
        """This merge as data. Raises ValueError where alpha is a gate, which YAML cannot hold."""
        if any(callable(alpha) for alpha in self.layers.values()):
            raise ValueError("alpha is a gate, a Python callable; a recipe holds numbers only")
        return Recipe(
            host=self.host.source,
            donors=tuple(donor.source for donor in self.donors),
            base=None if self.base is None else self.base.source,
            operator=self.operator,
            layers=dict(self.layers),  # pyright: ignore[reportArgumentType] # numbers: checked above
            donor_weights=None if self.donor_weights is None else tuple(self.donor_weights),
            positions=self.positions,  # pyright: ignore[reportArgumentType] # checked in __init__
            donor_stream=self.donor_stream,  # pyright: ignore[reportArgumentType] # checked too
            operator_args=self._merge_states.operator_args,
            accept=self.accept,  # pyright: ignore[reportArgumentType] # checked by check_pair
        )

    def __call__(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """Merged logits on the native view; gradients flow into every model unless switched off.

        attention_mask: 0 for padding, on either side; positions are counted over real tokens.
        """
        native = self.host.native
        assert native is not None
        position_ids = None
        if attention_mask is not None:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        with self._attach("native"):
            output = native(
                input_ids=tokens,
                attention_mask=attention_mask,
                position_ids=position_ids,
                use_cache=False,
            )
        return output.logits

    def generate(
        self,
        prompts: Prompts,
        *,
        max_new_tokens: int | None = None,
        chat: bool = False,
        attention_mask: Tensor | None = None,
        **arguments: Any,
    ) -> Any:
        """Continue prompts, merged at every step: str -> new text, list of str -> list, ids -> ids.

        Hugging Face's `generate` on the native view, so sampling, beams, streaming and stopping are
        its arguments; `chat` applies the host's chat template, `seed` seeds the sampling.
        """
        native, tokenizer = self.host.native, self.host.tokenizer
        assert native is not None
        encoded = prepare(tokenizer, prompts, self.host.name, chat, attention_mask)
        with self._attach("native"), self._generating(encoded.input_ids.shape[1]):
            return generate(native, tokenizer, encoded, max_new_tokens=max_new_tokens, **arguments)

    def run_with_cache(self, tokens: Any, *arguments: Any, **keywords: Any) -> Any:
        """Logits and the host's activations, merged where merged: TransformerLens's run_with_cache."""
        with self._attach("hooked"):
            return self.host.hooked.run_with_cache(tokens, *arguments, **keywords)

    @contextmanager
    def hooks(self) -> Iterator["LatentMerge"]:
        """Inside, host.hooked and host.native are merged for every caller; outside, untouched.

        May be nested. Hooks of the user's own at a merged block run after the merge. Without a
        key-value cache, positions="last" counts from each call's own last token.
        """
        with self._attach("native"), self._attach("hooked"):
            yield self

    @contextmanager
    def _attach(self, view: str) -> Iterator[None]:
        """Hang the merge on one view, once however often it is asked for; take it off at the end."""
        if self._attached[view]:
            yield
            return
        if self.host.merge_attached not in (None, self):
            raise RuntimeError(
                f"host {self.host.name!r} is inside the hooks of another merge "
                f"({self.host.merge_attached!r}); leave that first, or load the host a second time"
            )
        attach = {"native": attach_native, "hooked": attach_hooked}[view]
        before = self.host.merge_attached
        with attach(self.host, list(self.layers), self._begin, self._merge_at, self._end):
            self._attached[view], self.host.merge_attached = True, self
            try:
                yield
            finally:
                self._attached[view], self.host.merge_attached = False, before
                self._pass = None

    @contextmanager
    def _generating(self, prompt_length: int) -> Iterator[None]:
        """Inside, "the last prompt token" is that of a prompt so many columns long."""
        before, self._prompt_length = self._prompt_length, prompt_length
        try:
            yield
        finally:
            self._prompt_length = before

    def _begin(self, module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Before the host's forward: run the donors on the same tokens."""
        input_ids = keywords.get("input_ids", arguments[0] if arguments else None)
        if input_ids is None:
            raise ValueError("a merged model takes token ids (input_ids): donors embed them themselves")
        cache = self._cache_for(module, keywords)
        inputs = ForwardInputs(
            input_ids, keywords.get("attention_mask"), keywords.get("position_ids")
        )
        real = real_tokens(inputs.attention_mask, input_ids.shape[1])
        self._pass = LatentPass(self._merged_at(inputs, real, cache), real)
        if cache is None and all(alpha == 0 for alpha in self.layers.values()):
            return arguments, keywords
        caches = [None] * len(self._streams) if cache is None else cache.donor_caches
        for stream, donor_cache in zip(self._streams, caches, strict=True):
            stream.start(inputs, donor_cache)
        return arguments, keywords

    def _cache_for(self, module: Any, keywords: dict[str, Any]) -> MergeCache | None:
        """The host's cache with the donors' in tow; made here where the host would make its own."""
        cache = keywords.get("past_key_values")
        if cache is None:
            uses = keywords.get("use_cache")
            if not (module.config.use_cache if uses is None else uses):
                return None
            cache = keywords["past_key_values"] = DynamicCache(config=module.config)
        if isinstance(cache, MergeCache):
            if cache.merge_id != self._id:
                raise ValueError("past_key_values was filled by another merge; start from an empty one")
            return cache
        if type(cache) is not DynamicCache:
            raise TypeError(
                f"past_key_values is a {type(cache).__name__}; a merged model takes a DynamicCache "
                "(drop cache_implementation), which carries the donors' caches along"
            )
        if cache.get_seq_length() > 0:
            raise ValueError(
                "past_key_values was filled without the merge; start from an empty one inside the hooks"
            )
        return MergeCache.adopt(cache, [stream.new_cache() for stream in self._streams], self._id)

    def _merged_at(
        self, inputs: ForwardInputs, real: Tensor | None, cache: MergeCache | None
    ) -> Tensor | None:
        if self.positions == "all":
            return None
        n_before = 0 if cache is None else cache.get_seq_length()
        first = self._prompt_length and self._prompt_length - 1
        if cache is not None:
            if cache.first_merged is None:
                cache.first_merged = inputs.input_ids.shape[1] - 1 if first is None else first
            elif first is None:
                first = cache.first_merged
        if first is None:
            return last_real(inputs.input_ids, real)
        return from_column(inputs.input_ids, n_before, first)

    def _merge_at(self, layer: int, host: Tensor) -> Tensor | None:
        """After a merged block: its output with the donors' states merged in; None to leave it."""
        alpha, current = self.layers[layer], self._pass
        if current is None:
            raise RuntimeError(f"block {layer} of {self.host.name!r} ran outside a forward of the model")
        if not self._streams[0].states:
            return None
        states = [stream.take(layer) for stream in self._streams]
        n_donors = len(self.donors)
        donors, base = states[:n_donors], states[n_donors] if self.base is not None else None
        merged = host
        if callable(alpha) or alpha != 0:
            computed = self._merge_states(alpha, host, donors, base)
            merged = current.select(host, computed)
            current.note(layer, merged)
        if self.donor_stream == "coupled":
            for stream, state in zip(self._streams, states, strict=True):
                stream.resume(layer, current.select(state.to(host), merged))
        return None if merged is host else merged

    def _end(self) -> None:
        """After the host's forward: fail if a merged state was not finite."""
        current, self._pass = self._pass, None
        if current is not None:
            current.raise_if_not_finite()


def _check_base(operator: str, base: HookedLM | None) -> None:
    needed = needs_base(get_operator(operator))
    if needed and base is None:
        raise ValueError(f"operator {operator!r} needs base=, the common ancestor of host and donors")
    if not needed and base is not None:
        raise ValueError(f"operator {operator!r} takes no base; leave it out")


def _alpha_of(operator: str, lambda_reg: Any, alpha: Alpha | None, layers: Layers) -> float:
    if operator != "regmean":
        raise TypeError(f"operator {operator!r} takes no argument lambda_reg")
    if alpha is not None or isinstance(layers, Mapping):
        raise ValueError(
            f"lambda_reg={lambda_reg} and alpha={alpha} (layers={layers}) both set the donors' weight; "
            "give one: alpha = 1 / (1 + lambda_reg)"
        )
    return alpha_from_lambda(lambda_reg)

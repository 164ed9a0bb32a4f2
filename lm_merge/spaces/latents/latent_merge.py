"""Merging in the residual stream: operators as hooks on resid_post, reversible at any time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import MappingProxyType
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from lm_merge.coefficients import Alpha, alpha_from_lambda, shares_by_layer
from lm_merge.generation import Prompts, prepare
from lm_merge.generation.static.arguments import require_dynamic
from lm_merge.generation.static.decoding import StaticDecoding
from lm_merge.models import HookedLM, check_pair
from lm_merge.operators import get_operator, needs_base
from lm_merge.recipes import Recipe
from lm_merge.spaces.composed import amount_phrase, composed_name
from lm_merge.spaces.host_lock import unmerged
from lm_merge.spaces.latents.alpha_by_layer import Layers, check_within, layer_schedule, plain_alpha
from lm_merge.spaces.latents.alpha_record import AlphaRecord
from lm_merge.spaces.latents.merge_hooks import MergeHooks
from lm_merge.spaces.latents.merged_positions import POSITIONS
from lm_merge.spaces.latents.state_merge import StateMerge

DONOR_STREAMS = ("pure", "coupled")


class LatentMerge:
    """A host whose residual stream takes in donors' streams at chosen blocks, in every forward pass.

    host, donors: models of one architecture (`check_pair`); one donor or a list.
    operator: name in `lm_merge.operators.OPERATORS`; operator_args: what it takes besides.
    layers: blocks whose resid_post is merged, from 0: a list with `alpha`, or {block: alpha}.
    alpha: the donors' total weight, 0 host .. 1 donor (not clamped: beyond, it extrapolates), or a
        gate: a callable of host and donor states [batch, pos, d_model] giving alpha [batch, pos, 1].
        For regmean `lambda_reg` may stand instead: alpha = 1 / (1 + lambda_reg).
    donor_weights: the donors' parts of alpha, equal unless given; or {block: parts}, where a donor
        runs to the last block in which it has a part.
    base: common ancestor, for operators that need one (task_vector).
    positions: "all", or "last": every token from the last prompt token on.
    donor_stream: "pure": donors go on from their own states; "coupled": from the merged ones.
    accept: names of differences between the models to accept (`check_pair`).

    Donors contribute by their weights alone, and by the adapter that they were loaded with: hooks,
    steering or adapters put on a donor's modules are not seen. One thread at a time may use a host.
    Every call of `generate` counts "last" from its own prompt.

    No weight changes: outside `hooks()` and the calls below, host and donors are as they were. Where
    every alpha is 0 the host's logits are bit-equal to its own.

    >>> import lm_merge as lm
    >>> host, donor = lm.load("tiny-instruct"), lm.load("tiny-thinker")
    >>> merge = lm.LatentMerge(host, donor, operator="slerp", layers=[3], alpha=0.5)
    >>> merge
    LatentMerge('tiny-instruct' + tiny-thinker, slerp, layers={3: 0.5})
    >>> merge.generate("What is the capital of Norway?", chat=True, max_new_tokens=8)
    'Oslo'
    >>> tokens = host.to_tokens("12+34 = ?").input_ids
    >>> merge.alpha = 0.0  # takes effect at the next forward pass
    >>> merge(tokens).equal(host.native(tokens).logits)
    True
    """

    def __init__(
        self,
        host: HookedLM,
        donors: HookedLM | Sequence[HookedLM],
        *,
        operator: str = "slerp",
        layers: Layers,
        alpha: Alpha | None = None,
        donor_weights: Sequence[float] | Mapping[int, Sequence[float]] | None = None,
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
            raise ValueError(
                f"donor_stream={donor_stream!r} is unknown; choose from {DONOR_STREAMS}"
            )
        schedule, shares, merge_states = checked_settings(
            operator,
            operator_args,
            layers=layers,
            alpha=alpha,
            donor_weights=donor_weights,
            n_donors=len(donors),
            has_base=base is not None,
        )
        check_within(schedule, host.n_layers, host.name)
        self.host, self.donors, self.base = host, donors, base
        self.operator, self.positions, self.donor_stream = operator, positions, donor_stream
        self.operator_args = merge_states.operator_args
        self.accept = tuple(accept)
        self.donor_weights = donor_weights
        others = [*donors, *([base] if base is not None else [])]
        _check_kinds([host, *others], donor_stream)
        self.notes = tuple(note for other in others for note in check_pair(host, other, accept))
        self._runner = MergeHooks(
            host,
            donors,
            base,
            merge_states,
            layers=schedule,
            shares=shares,
            positions=positions,
            donor_stream=donor_stream,
        )

    def __repr__(self) -> str:
        names = ", ".join(donor.name for donor in self.donors)
        return f"LatentMerge({self.host.name!r} + {names}, {self.operator}, layers={dict(self.layers)})"

    @property
    def name(self) -> str:
        """Models, operator, alphas and blocks, for tables and figures."""
        where = f"at {', '.join(str(layer) for layer in self.layers)}"
        amount = amount_phrase(list(self.layers.values()))
        models = [model.name for model in (self.host, *self.donors)]
        return composed_name(models, "latents", self.operator, amount, where)

    @property
    def layers(self) -> Mapping[int, Alpha]:
        """Merged blocks in rising order, each with its alpha; set `alpha` to change them."""
        return MappingProxyType(self._runner.layers)

    @property
    def decoding(self) -> StaticDecoding:
        """How the merge decodes: its recorded steps, and which path the last call took."""
        return self._runner.decoding

    @property
    def alpha(self) -> Alpha | dict[int, Alpha]:
        """The donors' weight: one value if all merged blocks share it, else block -> value."""
        values = list(self.layers.values())
        return (
            values[0]
            if all(value is values[0] or value == values[0] for value in values)
            else {**self.layers}
        )

    @alpha.setter
    def alpha(self, value: Alpha | Mapping[int, Alpha]) -> None:
        """Set it for all merged blocks, or block by block; takes effect at the next forward pass."""
        new = dict(value) if isinstance(value, Mapping) else dict.fromkeys(self.layers, value)
        unknown = sorted(set(new) - set(self.layers))
        if unknown:
            raise ValueError(
                f"layers {unknown} are not merged here; merged are {list(self.layers)}"
            )
        plain = {layer: plain_alpha(one) for layer, one in new.items()}
        self._runner.layers = {**self.layers, **plain}

    @property
    def recipe(self) -> Recipe:
        """This merge as data.

        Raises ValueError where alpha is a gate, which YAML cannot hold, and where a model was merged
        in memory only.
        """
        if any(callable(alpha) for alpha in self.layers.values()):
            raise ValueError("alpha is a gate, a Python callable; a recipe holds numbers only")
        return Recipe(
            host=self.host.recipe_source,
            donors=tuple(donor.recipe_source for donor in self.donors),
            base=None if self.base is None else self.base.recipe_source,
            operator=self.operator,
            layers=dict(self.layers),  # pyright: ignore[reportArgumentType] # numbers: checked above
            donor_weights=self.donor_weights,  # pyright: ignore[reportArgumentType] # pydantic's
            positions=self.positions,  # pyright: ignore[reportArgumentType] # checked in __init__
            donor_stream=self.donor_stream,  # pyright: ignore[reportArgumentType] # checked too
            operator_args=self.operator_args,
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
        view = "hooked" if self.host.native is None else "native"
        with self._runner.attach(view):
            return self.host(tokens, attention_mask)

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
        `assistant_model` may be any of the models, the host or a donor alone included. On a GPU the
        step runs on static caches where nothing forbids it: `static`, `compile` and `decoding.last`
        are those of `StaticDecoding`.
        """
        host = self.host
        if "assistant_model" in arguments:
            arguments["assistant_model"] = unmerged(arguments["assistant_model"], host)
        encoded = prepare(host.tokenizer, prompts, host.name, chat, attention_mask)
        for donor in self.donors:
            donor.check_length(encoded, max_new_tokens, arguments)
        view = "hooked" if host.native is None else "native"
        if host.native is None:
            require_dynamic(arguments, f"{host.name!r} is a HookedTransformer")
        with self._runner.attach(view), self._runner.generating(encoded.input_ids.shape[1]):
            return host.continue_prompts(encoded, max_new_tokens=max_new_tokens, **arguments)

    def after_prompt(self, n_columns: int) -> AbstractContextManager[None]:
        """Inside, the prompt of every forward pass ends after so many columns, padding included.

        For texts that are scored: positions="last" and gates count from there, as in `generate`.
        Non-finite states are reported when it ends.
        """
        return self._runner.generating(n_columns)

    def run_with_cache(self, tokens: Any, *arguments: Any, **keywords: Any) -> Any:
        """Logits and the host's activations, merged where merged: TransformerLens's run_with_cache."""
        hooked = self.host.require_equal_views("run_with_cache of a merge")
        with self._runner.attach("hooked"):
            return hooked.run_with_cache(tokens, *arguments, **keywords)

    @contextmanager
    def recording(self) -> Iterator[AlphaRecord]:
        """Inside, the alpha of every token is noted, so that one can see where the donor spoke."""
        before, record = self._runner.record, AlphaRecord()
        self._runner.record = record
        try:
            yield record
        finally:
            self._runner.record = before

    @contextmanager
    def hooks(self) -> Iterator["LatentMerge"]:
        """Inside, host.hooked and host.native are merged for every caller; outside, untouched.

        May be nested. Hooks of the user's own at a merged block run after the merge. Forward passes
        outside `host.native.generate` and without a key-value cache count positions="last" from
        their own last token, unless `after_prompt` says where the prompt ended. Only the thread that
        entered may use the host inside; to stream from another thread, call `merge.generate` there
        instead.
        """
        with ExitStack() as stack:
            for view in ("native", "hooked") if self.host.native is not None else ("hooked",):
                stack.enter_context(self._runner.attach(view))
            yield self


def checked_settings(
    operator: str,
    operator_args: Mapping[str, Any],
    *,
    layers: Layers,
    alpha: Alpha | None,
    donor_weights: Sequence[float] | Mapping[int, Sequence[float]] | None,
    n_donors: int,
    has_base: bool,
) -> tuple[dict[int, Alpha], dict[int, tuple[float, ...]], StateMerge]:
    """Alpha and the donors' parts of it at each merged block, and the operator; needs no model.

    Raises ValueError for an unknown operator, TypeError for an argument that it does not take, and
    ValueError for what else is wrong.
    """
    _check_base(operator, has_base)
    arguments = dict(operator_args)
    lambda_reg = arguments.pop("lambda_reg", None)
    if lambda_reg is not None:
        alpha = _alpha_of(operator, lambda_reg, alpha, layers)
    merge_states = StateMerge(operator, arguments)
    schedule = layer_schedule(layers, alpha)
    return schedule, shares_by_layer(donor_weights, schedule, n_donors), merge_states


def _check_kinds(models: Sequence[HookedLM], donor_stream: str) -> None:
    kinds = {model.native is None for model in models}
    if len(kinds) > 1:
        raise ValueError(
            "a HookedTransformer merges with HookedTransformers only: its weights may be in other "
            "coordinates; load all models the same way"
        )
    if kinds == {True} and donor_stream == "coupled":
        raise ValueError(
            "donor_stream='coupled' needs models with a native view, not HookedTransformers"
        )


def _check_base(operator: str, has_base: bool) -> None:
    needed = needs_base(get_operator(operator))
    if needed and not has_base:
        raise ValueError(
            f"operator {operator!r} needs base=, the common ancestor of host and donors"
        )
    if not needed and has_base:
        raise ValueError(f"operator {operator!r} takes no base; leave it out")


def _alpha_of(operator: str, lambda_reg: Any, alpha: Alpha | None, layers: Layers) -> float:
    if operator != "regmean":
        raise ValueError(f"operator {operator!r} takes no argument lambda_reg; only regmean does")
    if alpha is not None or isinstance(layers, Mapping):
        raise ValueError(
            f"lambda_reg={lambda_reg} and alpha={alpha} (layers={layers}) both set the donors' weight; "
            "give one: alpha = 1 / (1 + lambda_reg)"
        )
    return alpha_from_lambda(lambda_reg)

"""A merge at work: the callbacks that run donors beside the host and merge their states."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lm_merge.caches.merge_cache import merge_cache
from lm_merge.coefficients import Alpha
from lm_merge.models import HookedLM
from lm_merge.sites.attach import attach_hooked, attach_native
from lm_merge.spaces.host_lock import HostLock
from lm_merge.spaces.latents.alpha_record import AlphaRecord
from lm_merge.spaces.latents.donor_stream import DonorStream, ForwardInputs
from lm_merge.spaces.latents.hooked_transformer_stream import HookedTransformerStream
from lm_merge.spaces.latents.latent_pass import LatentPass, raise_if_not_finite
from lm_merge.spaces.latents.merged_positions import generated_index, real_tokens
from lm_merge.spaces.latents.state_merge import StateMerge


class MergeHooks:
    """Hangs on a host's view while attached; between forward passes it holds no state of tokens.

    donors, base: the models whose streams are read. layers: merged block -> alpha, which may be
    replaced between passes. shares: merged block -> the donors' parts of alpha; a donor stops at the
    last block in which its part is not 0.
    """

    def __init__(
        self,
        host: HookedLM,
        donors: Sequence[HookedLM],
        base: HookedLM | None,
        merge_states: StateMerge,
        *,
        layers: dict[int, Alpha],
        shares: dict[int, tuple[float, ...]],
        positions: str,
        donor_stream: str,
    ) -> None:
        self.host, self.merge_states, self.shares = host, merge_states, shares
        self.layers, self.positions = layers, positions
        self.coupled = donor_stream == "coupled"
        self.record: AlphaRecord | None = None
        self._streams = _donor_streams(donors, shares, coupled=self.coupled)
        self._base = None if base is None else _stream(base, list(layers), coupled=self.coupled)
        self._id = uuid.uuid4().hex
        self._prompt_length: int | None = None
        self._pass: LatentPass | None = None
        self._unchecked: list[LatentPass] | None = None
        self._lock = HostLock(host, self)

    def __repr__(self) -> str:
        return f"a merge of {self.host.name!r} at {list(self.layers)}"

    @contextmanager
    def attach(self, view: str) -> Iterator[None]:
        """Hang the merge on one view, once however often it is asked for; take it off at the end.

        Raises RuntimeError where another merge, or another thread, is at work on the host.
        """
        with self._lock.held(view) as nested:
            if nested:
                yield
                return
            attach = attach_native if view == "native" else attach_hooked
            attached = attach(self.host, list(self.layers), self)
            try:
                with attached, self._telling_generate_the_prompt(view):
                    yield
                self.end()  # of a pass that was stopped at a layer, and so did not end itself
            finally:
                self._pass = None

    @contextmanager
    def _telling_generate_the_prompt(self, view: str) -> Iterator[None]:
        """Frame the native view's own `generate`, so that callers inside `hooks()` need not.

        Only there is the prompt known: with drafts or a prefill in parts it does not end where the
        first forward pass ends.
        """
        native: Any = self.host.native
        if view != "native":
            yield
            return
        generate, before = native.generate, vars(native).get("generate")

        def framed(*arguments: Any, **keywords: Any) -> Any:
            given = arguments[0] if arguments else None
            ids = keywords.get("input_ids", keywords.get("inputs", given))
            if self._prompt_length is not None or not isinstance(ids, Tensor):
                return generate(*arguments, **keywords)
            with self.generating(ids.shape[1]):
                return generate(*arguments, **keywords)

        native.generate = framed
        try:
            yield
        finally:
            del native.generate
            if before is not None:  # somebody's own, on this very object
                native.generate = before

    @contextmanager
    def generating(self, prompt_length: int) -> Iterator[None]:
        """Inside, "the last prompt token" is that of a prompt so many columns long.

        States that are not finite are reported at the end, so that no step waits for the device.
        """
        before = self._prompt_length, self._unchecked
        self._prompt_length, self._unchecked = prompt_length, []
        passes = self._unchecked
        try:
            yield
        except Exception:  # after an error of torch's too: sampling from NaN fails in its own words
            raise_if_not_finite(passes)
            raise
        else:
            raise_if_not_finite(passes)
        finally:
            self._prompt_length, self._unchecked = before

    def begin(self, module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Before the host's forward: run the donors on the same tokens."""
        self._lock.check_thread()
        self.end()
        input_ids = keywords.get("input_ids", arguments[0] if arguments else None)
        if input_ids is None:
            raise ValueError(
                "a merged model takes token ids (input_ids): donors embed them themselves"
            )
        cache = merge_cache(
            module.config,
            keywords,
            self._id,
            lambda: [stream.new_cache() for stream in self._all_streams()],
        )
        inputs = ForwardInputs(
            input_ids, keywords.get("attention_mask"), keywords.get("position_ids")
        )
        n_before = 0 if cache is None else cache.get_seq_length()
        self._pass = self._new_pass(input_ids, inputs.attention_mask, cache, n_before)
        self._run_donors(self._pass, cache, lambda stream, own: stream.start(inputs, own))
        return arguments, keywords

    def begin_hooked_transformer(
        self, tokens: Tensor, attention_mask: Tensor | None, cache: Any
    ) -> None:
        """The same for a HookedTransformer, whose cache is TransformerLens's."""
        self._lock.check_thread()
        n_before = 0 if cache is None else cache[0].past_keys.shape[1]
        if cache is not None and n_before == 0:
            cache.donor_caches = [stream.new_cache(len(tokens)) for stream in self._all_streams()]
            cache.last_prompt_column = None
        current = self._new_pass(tokens, attention_mask, cache, n_before)
        self._pass = None  # a host that is its own donor runs unmerged now
        self._run_donors(
            current, cache, lambda stream, own: stream.start(tokens, attention_mask, own)
        )
        self._pass = current

    def _all_streams(self) -> list[Any]:
        return [*self._streams, *([] if self._base is None else [self._base])]

    def _run_donors(self, current: LatentPass, cache: Any, start: Callable[..., None]) -> None:
        """Run every stream on the new tokens; with a cache always, so that it never falls behind."""
        if cache is None and all(not callable(a) and a == 0 for a in self.layers.values()):
            return
        streams = self._all_streams()
        caches = [None] * len(streams) if cache is None else cache.donor_caches
        for stream, own in zip(streams, caches, strict=True):
            start(stream, own)
        current.donors_ran = True

    def _new_pass(
        self, tokens: Tensor, attention_mask: Tensor | None, cache: Any, n_before: int
    ) -> LatentPass:
        """Which tokens are merged; the cache remembers where the prompt ended."""
        real = real_tokens(attention_mask, tokens.shape[1])
        last = None if self._prompt_length is None else self._prompt_length - 1
        if cache is not None:
            if cache.last_prompt_column is None:
                cache.last_prompt_column = tokens.shape[1] - 1 if last is None else last
            elif last is None:
                last = cache.last_prompt_column
        generated = generated_index(tokens, real, n_before, last)
        merged_at = None if self.positions == "all" else generated >= 0
        return LatentPass(merged_at, real, generated, n_before)

    def at_layer(self, layer: int, state: Tensor) -> Tensor | None:
        """After a merged block: its output with the donors' states merged in; None to leave it."""
        host = state
        alpha, current = self.layers[layer], self._pass
        if current is None or not current.donors_ran:
            return None  # a block run by itself, or a merge that is off
        contributing = [
            (stream, share)
            for stream, share in zip(self._streams, self.shares[layer], strict=True)
            if share != 0
        ]
        states = [stream.take(layer) for stream, _ in contributing]
        shares = [share for _, share in contributing]
        base = None if self._base is None else self._base.take(layer)
        merged = host
        if callable(alpha) or alpha != 0:
            values = current.open_gate(alpha, shares, host, states) if callable(alpha) else alpha
            merged = current.select(host, self.merge_states(values, shares, host, states, base))
            current.note(layer, merged)
            if self.record is not None:
                self.record.add(layer, current, values, host)
        if self.coupled:
            others = [*zip((s for s, _ in contributing), states, strict=True)]
            if self._base is not None:
                others.append((self._base, base))
            for stream, state in others:
                stream.resume(layer, current.select(state.to(host), merged))
        return None if merged is host else merged

    def end(self) -> None:
        """After the host's forward: look for states that are not finite, now or when generated."""
        current, self._pass = self._pass, None
        if current is None:
            return
        if self._unchecked is None:
            raise_if_not_finite([current])
        else:
            self._unchecked.append(current)


def _donor_streams(
    donors: Sequence[HookedLM], shares: dict[int, tuple[float, ...]], *, coupled: bool
) -> list[Any]:
    """A stream for each donor, over the blocks in which it has a part."""
    return [
        _stream(donor, [layer for layer, parts in shares.items() if parts[i] != 0], coupled=coupled)
        for i, donor in enumerate(donors)
    ]


def _stream(model: HookedLM, layers: list[int], *, coupled: bool) -> Any:
    if model.native is None:
        return HookedTransformerStream(model.hooked, layers)
    return DonorStream(model, layers, coupled=coupled)

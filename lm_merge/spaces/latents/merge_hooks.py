"""The callbacks of a latent merge: donors run on the host's tokens, and their states are merged in."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from lm_merge.caches.merge_cache import merge_cache
from lm_merge.coefficients import Alpha
from lm_merge.generation.static.decoding import StaticDecoding
from lm_merge.models import HookedLM
from lm_merge.sites.attach import attach_hooked, attach_native
from lm_merge.sites.generate_call import framed_generate
from lm_merge.spaces.host_lock import HostLock
from lm_merge.spaces.latents.alpha_record import AlphaRecord
from lm_merge.spaces.latents.donor_streams import DonorStreams
from lm_merge.spaces.latents.latent_pass import LatentPass, raise_if_not_finite
from lm_merge.spaces.latents.merged_positions import generated_index, real_tokens
from lm_merge.spaces.latents.state_merge import StateMerge
from lm_merge.spaces.latents.state_stream import ForwardInputs
from lm_merge.spaces.latents.static_latents import StaticLatents


class MergeHooks:
    """A merge's hooks on a host's view; between forward passes they hold no state of tokens.

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
        self.host, self.merge_states, self.positions = host, merge_states, positions
        self._record: AlphaRecord | None = None
        self._donors = DonorStreams(donors, base, shares, coupled=donor_stream == "coupled")
        others = [*donors, *([] if base is None else [base])]
        self._static = StaticLatents(host, others, self._donors, merge_states, layers, shares)
        self.decoding = StaticDecoding(self._static)
        self._id = uuid.uuid4().hex
        self._prompt_length: int | None = None
        self._pass: LatentPass | None = None
        self._unchecked: list[LatentPass] | None = None
        self._lock = HostLock(host, self)

    def __repr__(self) -> str:
        return f"a merge of {self.host.name!r} at {list(self.layers)}"

    @property
    def layers(self) -> dict[int, Alpha]:
        """Merged block -> alpha."""
        return self._static.layers

    @layers.setter
    def layers(self, layers: dict[int, Alpha]) -> None:
        self._static.layers = layers

    @property
    def record(self) -> AlphaRecord | None:
        """Where alphas are noted."""
        return self._record

    @record.setter
    def record(self, record: AlphaRecord | None) -> None:
        self._record, self._static.recording = record, record is not None

    @contextmanager
    def attach(self, view: str) -> Iterator[None]:
        """Inside, one view is merged; nested calls attach it once.

        Raises RuntimeError where another merge, or another thread, is at work on the host.
        """
        with self._lock.held(view) as nested:
            if nested:
                yield
                return
            with ExitStack() as stack:
                stack.callback(self._forget_pass)
                if view == "native":
                    stack.enter_context(attach_native(self.host, list(self.layers), self))
                    stack.enter_context(
                        framed_generate(self.host, self._generating_once, self.decoding)
                    )
                else:
                    stack.enter_context(attach_hooked(self.host, list(self.layers), self))
                yield
                self.end()  # of a pass that was stopped at a layer, and so did not end itself

    def _forget_pass(self) -> None:
        self._pass = None

    def _generating_once(self, input_ids: Tensor) -> AbstractContextManager[None]:
        """`generating`, unless a call around this one knows the prompt already."""
        known = self._prompt_length is not None
        return nullcontext() if known else self.generating(input_ids.shape[1])

    @contextmanager
    def generating(self, prompt_length: int) -> Iterator[None]:
        """Inside, "the last prompt token" is that of a prompt so many columns long.

        States that are not finite are reported at the end, so that no step waits for the device.
        """
        before = self._prompt_length, self._unchecked
        self._prompt_length, self._unchecked = prompt_length, []
        passes = self._unchecked
        self._static.not_finite = None
        try:
            yield
        except Exception:  # sampling from NaN raises an error of torch's
            raise_if_not_finite([*passes, *self._static_passes()])
            raise
        else:
            raise_if_not_finite([*passes, *self._static_passes()])
        finally:
            self._prompt_length, self._unchecked = before

    def _static_passes(self) -> list[LatentPass]:
        """What a recorded step noted of the tokens after the prompt."""
        return [] if self._static.not_finite is None else [self._static.not_finite]

    def begin(self, module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Before the host's forward: run the donors on the same tokens."""
        self._lock.check_thread()
        self.end()
        input_ids = keywords.get("input_ids", arguments[0] if arguments else None)
        if input_ids is None:
            raise ValueError(
                "a merged model takes token ids (input_ids): donors embed them themselves"
            )
        _refuse_checkpointing(module)
        batch = len(input_ids)
        cache = merge_cache(
            module.config, keywords, self._id, lambda: self._donors.new_caches(batch)
        )
        inputs = ForwardInputs(
            input_ids, keywords.get("attention_mask"), keywords.get("position_ids")
        )
        n_before = 0 if cache is None else cache.get_seq_length()
        self._pass = self._new_pass(input_ids, inputs.attention_mask, cache, n_before)
        self._run_donors(self._pass, inputs, cache)
        return arguments, keywords

    def begin_hooked_transformer(
        self, tokens: Tensor, attention_mask: Tensor | None, cache: Any
    ) -> None:
        """The same for a HookedTransformer, whose cache is TransformerLens's."""
        self._lock.check_thread()
        n_before = 0 if cache is None else cache[0].past_keys.shape[1]
        if cache is not None and n_before == 0:
            cache.donor_caches = self._donors.new_caches(len(tokens))
            cache.last_prompt_column = None
        current = self._new_pass(tokens, attention_mask, cache, n_before)
        self._pass = LatentPass.unmerged(current)  # for a host that is its own donor
        self._run_donors(current, ForwardInputs(tokens, attention_mask, None), cache)
        self._pass = current

    def _run_donors(self, current: LatentPass, inputs: ForwardInputs, cache: Any) -> None:
        """Run the donors on the new tokens; with a cache always, so that none falls behind."""
        if cache is None and all(not callable(a) and a == 0 for a in self.layers.values()):
            return
        self._donors.run(inputs, None if cache is None else cache.donor_caches)
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
        """The host's state with the donors' states merged in; None to leave it.

        Raises RuntimeError for a block that runs outside a forward pass, where there is no donor.
        """
        alpha, current, host = self.layers[layer], self._pass, state
        if current is None:
            raise RuntimeError(
                f"block {layer} of {self.host.name!r} was called by itself inside the hooks of a merge, "
                "where no donor runs: call the model, or leave the hooks first"
            )
        if not current.donors_ran:
            return None
        taken, merged = self._donors.take(layer), host
        if callable(alpha) or alpha != 0:
            shares, states = taken.shares, taken.states
            values = current.open_gate(alpha, shares, host, states) if callable(alpha) else alpha
            chosen = current.chosen(host)
            merged = self.merge_states(values, shares, host, states, taken.base, chosen)
            merged = current.select(host, merged)
            current.note(layer, merged)
            if self.record is not None:
                self.record.add(layer, current, values, host)
        self._donors.resume(layer, taken, merged, current)
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


def _refuse_checkpointing(module: Any) -> None:
    """Raise ValueError where a backward pass would compute blocks again, without donors."""
    if not (module.training and torch.is_grad_enabled()):
        return
    if any(getattr(part, "gradient_checkpointing", False) for part in module.modules()):
        raise ValueError(
            "gradient checkpointing computes blocks again where no donor runs; switch it off for a "
            "merged host: native.gradient_checkpointing_disable()"
        )

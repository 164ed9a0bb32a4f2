"""An ensemble at work: the other models run next to the host, and their logits replace the host's."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from lm_merge.caches.merge_cache import merge_cache
from lm_merge.coefficients.shares import row_on_device
from lm_merge.generation.static.decoding import StaticDecoding
from lm_merge.models import HookedLM
from lm_merge.operators.distributions import get_ensemble_method
from lm_merge.sites.generate_call import framed_generate
from lm_merge.sites.next_token_logits import attach_logits
from lm_merge.spaces.host_lock import HostLock
from lm_merge.spaces.logits.logit_stream import LogitStream, at_width
from lm_merge.spaces.logits.static_ensemble import StaticEnsemble
from lm_merge.spaces.non_finite import NonFiniteMerge


class EnsembleHooks:
    """Hangs on a host's native view while attached; between forward passes it holds no state of tokens.

    weights: one a model, host first, at least 0 and of sum 1; may be replaced between passes. With a
    cache every model runs, so that none falls behind; without one, those of weight 0 do not.
    """

    def __init__(self, models: Sequence[HookedLM], method: str, weights: Sequence[float]) -> None:
        self.host = models[0]
        self._names = [model.name for model in models]
        self._streams = [LogitStream(model) for model in models[1:]]
        self._merge = get_ensemble_method(method)
        self._static = StaticEnsemble(models, self._streams, self._merge, weights)
        self.decoding = StaticDecoding(self._static)
        self._id = uuid.uuid4().hex
        self._lock = HostLock(self.host, self)
        self._nan: Tensor | None = None  # which models gave NaN; on the host's device

    def __repr__(self) -> str:
        return f"an ensemble of {', '.join(map(repr, self._names))}"

    @property
    def weights(self) -> tuple[float, ...]:
        """One a model, host first."""
        return self._static.weights

    @weights.setter
    def weights(self, weights: Sequence[float]) -> None:
        self._static.weights = tuple(weights)

    @contextmanager
    def attach(self) -> Iterator[None]:
        """Inside, the host's native view gives the ensemble's logits.

        Logits that are NaN are reported at the end, so that no step waits for the device. Raises
        RuntimeError where another merge, or another thread, is at work on the host.
        """
        with self._lock.held("native") as nested:
            if nested:
                yield
                return
            self._static.not_a_number = None
            framed = framed_generate(self.host, lambda _: nullcontext(), self.decoding)
            try:
                with framed, attach_logits(self.host, self._begin, self._end):
                    yield
            except (
                Exception
            ):  # after an error of torch's too: sampling from NaN fails in its own words
                self._raise_for_nan()
                raise
            else:
                self._raise_for_nan()
            finally:
                self._nan = None

    def _begin(self, module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Before the host's forward: its cache takes the other models' in tow."""
        self._lock.check_thread()
        if arguments:
            keywords["input_ids"], *further = arguments
            if further:
                raise TypeError("an ensemble takes token ids and keyword arguments only")
        if keywords.get("input_ids") is None:
            raise ValueError(
                "an ensemble takes token ids (input_ids): models embed them themselves"
            )
        if keywords.get("labels") is not None:
            raise ValueError(
                "labels: the loss would be the host's alone; compute it from the logits"
            )
        merge_cache(
            module.config,
            keywords,
            self._id,
            lambda: [stream.new_cache() for stream in self._streams],
        )
        return (), keywords

    def _end(
        self, module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any
    ) -> Any:
        """After the host's forward: the other models on the same tokens, and all logits merged."""
        host = output[0] if isinstance(output, tuple) else output.logits
        cache = keywords.get("past_key_values")
        caches = [None] * len(self._streams) if cache is None else cache.donor_caches
        contributing = [(0, host)]
        for index, (stream, own) in enumerate(zip(self._streams, caches, strict=True), start=1):
            if own is not None or self.weights[index] > 0:
                contributing.append((index, stream.logits(module, keywords, own)))
        merged = self._merged([one for one in contributing if self.weights[one[0]] > 0], host)
        if isinstance(output, tuple):
            return (merged, *output[1:])
        output.logits = merged
        return output

    def _merged(self, contributing: Sequence[tuple[int, Tensor]], host: Tensor) -> Tensor:
        wide = torch.promote_types(host.dtype, torch.float32)
        logits = torch.stack(
            [at_width(each.to(host.device, wide), host.shape[-1]) for _, each in contributing]
        )
        self._note_nan([index for index, _ in contributing], logits)
        weights = tuple(self.weights[index] for index, _ in contributing)
        row = row_on_device(weights, logits.dtype, logits.device)
        return self._merge(logits, row.view(-1, *(1,) * host.ndim))

    def _note_nan(self, indices: list[int], logits: Tensor) -> None:
        if self._nan is None:
            with torch.inference_mode(
                False
            ):  # later passes, in that mode or not, change it in place
                self._nan = torch.zeros(len(self._names), dtype=torch.bool, device=logits.device)
        self._nan[indices] |= logits.detach().isnan().flatten(1).any(dim=1)

    def _raise_for_nan(self) -> None:
        found = [one for one in (self._nan, self._static.not_a_number) if one is not None]
        flags = torch.stack(found).any(dim=0) if found else None
        if flags is not None and flags.any():
            names = ", ".join(repr(self._names[i]) for i in flags.nonzero().flatten().tolist())
            raise NonFiniteMerge(
                f"logits of {names} are not a number; look at that model's weights, or try a wider dtype"
            )

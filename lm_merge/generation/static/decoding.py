"""Which path a call of `generate` takes, decided here alone: static caches and a recording, or not."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lm_merge.generation.static.arguments import path_arguments, with_own_stop_strings
from lm_merge.generation.static.loop import Draw, continued
from lm_merge.generation.static.obstacles import call_obstacle
from lm_merge.generation.static.step import Compile, Record, StaticStep, cuda_graph
from lm_merge.generation.static.system import NoStaticStep, StaticSystem

_LOG = logging.getLogger(__name__)
BUCKET = 256  # columns; a cache holds a multiple, so that texts of similar length share a recording
N_KEPT = 4  # recordings, of different batch sizes and lengths


@dataclass(frozen=True)
class PathTaken:
    """How the last call of `generate` decoded.

    static: with caches of fixed size. step: "eager", "compiled", "graph" or "compiled graph"; None on
    the dynamic path. reason: why the dynamic path was taken. preparation_s: seconds that this call
    spent on a new recording, compilation included; 0 where an earlier one served.
    """

    static: bool
    step: str | None = None
    reason: str | None = None
    preparation_s: float = 0.0


def is_default_on(device: torch.device) -> bool:
    """Whether static decoding is chosen without being asked for: on a GPU, where launches cost most."""
    return device.type == "cuda"


class StaticDecoding:
    """A system's recorded steps, and the choice of the path for each call.

    record, backend: how steps are recorded and compiled; for tests.
    """

    def __init__(
        self, system: StaticSystem, *, record: Record | None = None, backend: str = "inductor"
    ) -> None:
        self.system = system
        self.last = PathTaken(False, reason="nothing was generated yet")
        self._record, self._backend = record, backend
        self._steps: OrderedDict[Hashable, StaticStep] = OrderedDict()
        self._failed: dict[Hashable, str] = {}
        self._key: Hashable = None
        self._busy = threading.Lock()
        self._noted: set[str] = set()

    def generate(
        self, generate: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        """Call `generate` with its arguments, of which `static` and `compile` are this library's.

        static: None, on a GPU wherever nothing forbids it, and elsewhere with `compile`; True, an
        obstacle is a ValueError; False, never. compile: None, "default" or "tuned".
        """
        given = dict(keywords)
        static, compile_as = path_arguments(given)
        asked = static or compile_as is not None
        if static is False or not (asked or is_default_on(self.system.device)):
            reason = "static=False" if static is False else "static caches are for GPUs"
            self.last = PathTaken(False, reason=reason)
            return generate(*arguments, **given)
        try:
            return self._statically(generate, arguments, given, compile_as)
        except NoStaticStep as obstacle:
            if static:
                raise ValueError(f"static=True: {obstacle}; leave static out") from obstacle
            self._note(str(obstacle))
            return generate(*arguments, **given)

    def _statically(
        self,
        generate: Callable[..., Any],
        arguments: tuple[Any, ...],
        given: dict[str, Any],
        compile_as: Compile | None,
    ) -> Any:
        for name in ("past_key_values", "custom_generate", "assistant_model"):
            if given.get(name) is not None:
                raise NoStaticStep(f"{name} was given")
        obstacle = self.system.obstacle()
        if obstacle is not None:
            raise NoStaticStep(obstacle)
        given = with_own_stop_strings(given, self.system.generation_config)
        if not self._busy.acquire(blocking=False):
            raise NoStaticStep("the recording is in use, by another thread or an outer call")
        streamer = given.pop("streamer", None)

        def decode(model: Any, input_ids: Tensor, **prepared: Any) -> Tensor:
            with torch.inference_mode(False), torch.no_grad():  # tensors that outlive the call
                return self._decode(model, input_ids, streamer, compile_as, **prepared)

        try:
            return generate(*arguments, **given, custom_generate=decode)
        finally:
            self._busy.release()

    def _decode(
        self,
        model: Any,
        input_ids: Tensor,
        streamer: Any,
        compile_as: Compile | None,
        *,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        synced_gpus: bool = False,
        **model_inputs: Any,
    ) -> Tensor:
        obstacle = call_obstacle(generation_config, model_inputs, synced_gpus)
        if obstacle is not None:
            raise NoStaticStep(obstacle)
        n_new = generation_config.max_length - input_ids.shape[1]
        step, seconds = None, 0.0
        if n_new > 1:
            n_columns = generation_config.max_length - 1  # the last token is never fed
            step, seconds = self._step_for(len(input_ids), n_columns, compile_as)
        if streamer is not None:
            streamer.put(input_ids.cpu())
        pad = generation_config._pad_token_tensor
        draw = Draw(
            logits_processor, stopping_criteria, bool(generation_config.do_sample), pad, streamer
        )
        self.last = PathTaken(True, self._kind(compile_as), preparation_s=seconds)
        output = continued(model, step, input_ids, model_inputs, generation_config, draw)
        if streamer is not None:
            streamer.end()
        return output

    def _step_for(
        self, batch: int, n_columns: int, compile_as: Compile | None
    ) -> tuple[StaticStep, float]:
        """The step for this batch and length, made anew where none is kept; seconds that took."""
        key = self.system.key()
        if key != self._key:
            self._steps.clear()
            self._failed.clear()
            self._key = key
        room = -(-n_columns // BUCKET) * BUCKET
        which = (batch, room, compile_as)
        if which in self._failed:
            raise NoStaticStep(self._failed[which])
        if which in self._steps:
            self._steps.move_to_end(which)
            return self._steps[which], 0.0
        while len(self._steps) >= N_KEPT:
            self._steps.popitem(last=False)
        record = self._record or (cuda_graph if self.system.device.type == "cuda" else None)
        try:
            step = StaticStep(
                self.system,
                batch,
                room,
                compile=compile_as,
                record=record,
                backend=self._backend,
            )
        except (NoStaticStep, RuntimeError) as error:  # torch's own where a recording fails
            self._failed[which] = f"the step could not be recorded: {error}"
            raise NoStaticStep(self._failed[which]) from error
        self._steps[which] = step
        _LOG.info("static step for %d x %d tokens made in %.1f s", batch, room, step.preparation_s)
        return step, step.preparation_s

    def _kind(self, compile_as: Compile | None) -> str:
        recorded = self._record is not None or self.system.device.type == "cuda"
        words = [
            *(["compiled"] if compile_as is not None else []),
            *(["graph"] if recorded else []),
        ]
        return " ".join(words) or "eager"

    def _note(self, reason: str) -> None:
        """Keep the reason, and log it once: the call is slower than it might be."""
        self.last = PathTaken(False, reason=reason)
        if reason not in self._noted:
            self._noted.add(reason)
            _LOG.warning("decoding on the dynamic path, because %s", reason)

"""One decoding step on tensors of fixed addresses: as it is, compiled, or replayed from a recording."""

import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from lm_merge.generation.static.system import NoStaticStep, StaticSystem
from lm_merge.generation.static.waiting import NoWaiting

Compile = Literal["default", "tuned"]
Run = Callable[[], None]
Record = Callable[[Run, torch.device], Run]  # a step -> what repeats it
N_WARM = 3  # steps before a recording, in which libraries choose their kernels
SELF_CHECK_FRAC = {torch.bfloat16: 0.05, torch.float16: 0.01}  # of the largest logit; else 1e-3


class StaticStep:
    """The step of a system for `batch` rows and at most `n_columns` tokens, and its tensors.

    compile: "default" or "tuned" (coordinate descent) by `torch.compile`; None: as it is. record: makes
    a recording of the step, `cuda_graph` on a GPU; None: the step itself runs each time. backend: of
    `torch.compile`. A recording is compared with the step itself when it is made.
    """

    def __init__(
        self,
        system: StaticSystem,
        batch: int,
        n_columns: int,
        *,
        compile: Compile | None = None,  # noqa: A002 # the public argument's name
        record: Record | None = None,
        backend: str = "inductor",
    ) -> None:
        start, device = time.perf_counter(), system.device
        self.system, self.batch, self.n_columns = system, batch, n_columns
        self.ids = torch.zeros(batch, 1, dtype=torch.long, device=device)
        self.position = torch.zeros(batch, 1, dtype=torch.long, device=device)
        self.mask = torch.ones(batch, n_columns, dtype=torch.long, device=device)
        self.column = torch.zeros(1, dtype=torch.long, device=device)
        self.cache = system.new_cache(batch, n_columns)
        self._version = system.version
        self._logits: Tensor | None = None
        self._compute: Callable[..., Tensor] = system.logits
        self._run: Run = self._step
        self._prepare(compile, backend, record)
        self.preparation_s = time.perf_counter() - start

    def begin(
        self,
        filled: DynamicCache,
        mask: Int[Tensor, "batch pos"] | None,
        last_position: Int[Tensor, "batch 1"],
        n_prompt: int,
    ) -> None:
        """Take over the caches of a prompt of `n_prompt` columns; mask: 0 for padding on the left."""
        self.system.begin(self.cache, n_prompt)
        self.cache.take_over(filled, n_prompt)
        self.mask.fill_(1)
        if mask is not None:
            self.mask[:, :n_prompt].copy_(mask)
        self.position.copy_(last_position + 1)
        self.column.fill_(n_prompt)

    def advance(self, tokens: Int[Tensor, " batch"]) -> Float[Tensor, "batch d_vocab"]:
        """Logits after one more token a row; the tensor is written anew by the next step."""
        self.ids.copy_(tokens[:, None])
        if self.system.version == self._version:
            self._run()
        else:  # changed since this was recorded, in a way that the recording cannot follow
            self._compute = self.system.logits
            self._step()
        assert self._logits is not None  # every run sets it, or writes where a recording has it
        return self._logits

    def _step(self) -> None:
        self._logits = self._compute(self.ids, self.mask, self.position, self.column, self.cache)
        self.position.add_(1)
        self.column.add_(1)

    def _rewind(self, n_columns: int) -> None:
        self.cache.rewind(n_columns)
        self.position.fill_(n_columns)
        self.column.fill_(n_columns)

    def _prepare(self, compile_as: Compile | None, backend: str, record: Record | None) -> None:
        """Warm up on tokens of no meaning, look for waits, then compile and record."""
        self.system.begin(self.cache, 0)
        self._step()
        with NoWaiting():
            self._step()
        self._rewind(1)
        if compile_as is not None:
            self._compile(compile_as, backend)
        if record is not None:
            for _ in range(N_WARM):
                self._step()
            self._run = record(self._step, self.system.device)
        if compile_as is not None or record is not None:
            self._compare_with_step()

    def _compile(self, compile_as: Compile, backend: str) -> None:
        options: dict[str, Any] = {}
        if compile_as == "tuned" and backend == "inductor":
            options = {"options": {"coordinate_descent_tuning": True}}
        self._compute = torch.compile(
            self.system.logits, backend=backend, fullgraph=True, dynamic=False, **options
        )
        self._step()
        self._rewind(1)

    def _compare_with_step(self) -> None:
        """Raise NoStaticStep where what will run gives other logits than the uncompiled step."""
        self._rewind(1)
        expected = self.system.logits(
            self.ids, self.mask, self.position, self.column, self.cache
        ).clone()
        self._rewind(1)
        self._run()
        recorded = self._logits
        assert recorded is not None
        share = SELF_CHECK_FRAC.get(recorded.dtype, 1e-3)
        finite = expected.isfinite() & recorded.isfinite()
        difference = float(torch.where(finite, recorded - expected, 0.0).abs().max())
        largest = float(torch.where(finite, expected, 0.0).abs().max())
        same_places = bool((expected.isfinite() == recorded.isfinite()).all())
        if not same_places or difference > share * max(largest, 1.0):
            raise NoStaticStep(
                f"the recorded step's logits differ from the step's own by {difference:.3g} "
                f"(largest logit {largest:.3g})"
            )


def cuda_graph(step: Run, device: torch.device) -> Run:
    """Record a step as a CUDA graph; gives its replay. Other threads may use the device meanwhile."""
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
    return graph.replay

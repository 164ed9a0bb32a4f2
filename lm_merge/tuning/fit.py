r"""Coefficients of an adapter merge fitted to examples by gradients; the models stay as they are.

The gradient of a coefficient is $dL/dc_i = \langle dL/dW', D_i \rangle$, which automatic
differentiation gives from the low-rank sum itself, so no update is ever built as a matrix.
"""

import math
import resource
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_merge.accumulation import wide
from lm_merge.coefficients.coefficient_file import CoefficientFile, Group, NamedSource
from lm_merge.spaces.adapters import AdapterMerge
from lm_merge.tuning.fit_groups import fit_groups, group_of_keys
from lm_merge.tuning.fit_texts import FitBatch, FitTask, fit_batches, texts_digest
from lm_merge.tuning.objectives import OBJECTIVES, Positions
from lm_merge.tuning.settings import FitSettings

COLLAPSED = 0.05
Matrix = Float[Tensor, "groups sources"]


class CollapseWarning(UserWarning):
    """The fit drove all coefficients to 0, so the merge is the base."""


@dataclass(frozen=True)
class Fitted:
    """What a fit found.

    losses: mean loss over the tasks at each step, in nats. peak_bytes: largest memory of the process,
    and of the accelerator where there is one.
    """

    groups: tuple[Group, ...]
    values: tuple[tuple[float, ...], ...]
    losses: tuple[float, ...]
    settings: FitSettings
    data_digest: str
    peak_bytes: int

    @property
    def collapsed(self) -> bool:
        """Whether every coefficient is nearly 0."""
        return all(abs(one) < COLLAPSED for row in self.values for one in row)

    def file(self, fingerprints: Mapping[str, str | None]) -> CoefficientFile:
        """As a coefficient file, which recipes read. fingerprints: adapter -> that of its files."""
        return CoefficientFile(
            sources=tuple(
                NamedSource(name=name, fingerprint=one) for name, one in fingerprints.items()
            ),
            groups=self.groups,
            values=self.values,
            objective=self.settings.objective,
            data_digest=self.data_digest,
            seed=self.settings.seed,
        )


def fit_coefficients(
    merge: AdapterMerge,
    tasks: Sequence[FitTask],
    settings: FitSettings,
    *,
    on_step: Callable[[int], None] | None = None,
) -> Fitted:
    """Fit a row of coefficients for each group of modules; the merge has them afterwards.

    The loss is the mean over tasks, over a task's texts and over their label positions; each step goes
    backward one task at a time. Warns with `CollapseWarning` where every coefficient ends below .05.
    Raises ValueError for an operator that is no sum, a task whose expert is not among the adapters, and
    texts without a reply.
    """
    names = [one.name for one in merge.adapters]
    _check(tasks, names)
    groups = fit_groups(merge, settings.by)
    fit = CoefficientFit(
        merge, tasks, settings, group_of_keys(merge.updates.keys, groups), len(groups)
    )
    losses = []
    with frozen(merge.host.require_native("a fit")):
        for step in range(settings.steps):
            losses.append(fit.step(step))
            if on_step is not None:
                on_step(step)
    values = fit.values()
    fitted = Fitted(
        groups=tuple(groups),
        values=values,
        losses=tuple(losses),
        settings=settings,
        data_digest=texts_digest(tasks),
        peak_bytes=_peak_bytes(merge.host.device),
    )
    merge.coefficients = fitted.file(dict.fromkeys(names)).rules(names)
    if fitted.collapsed:
        warnings.warn(
            f"objective {settings.objective!r} drove all coefficients below {COLLAPSED}: the merge is "
            "nearly the base; take objective 'distil'",
            CollapseWarning,
            stacklevel=2,
        )
    return fitted


class CoefficientFit:
    """The matrix of coefficients under Adam, and the batches that it sees."""

    def __init__(
        self,
        merge: AdapterMerge,
        tasks: Sequence[FitTask],
        settings: FitSettings,
        group_of: Mapping[str, int],
        n_groups: int,
    ) -> None:
        self.merge, self.tasks, self.settings, self.group_of = merge, tasks, settings, group_of
        start = settings.start
        if settings.bound == "sigmoid":
            start = math.log(start / (1 - start))
        self.free = torch.full((n_groups, len(merge.adapters)), start, requires_grad=True)
        self.adam = torch.optim.Adam([self.free], lr=settings.learning_rate, betas=(0.9, 0.999))
        self.objective = OBJECTIVES[settings.objective]
        host, size, seed = merge.host, settings.batch_size, settings.seed
        self.batches = {task.name: fit_batches(host, task, size, seed) for task in tasks}
        self._expert_logits: dict[tuple[str, int], Tensor] = {}

    @property
    def matrix(self) -> Matrix:
        """Coefficients [groups, sources] within 0 and 1, with gradients."""
        return self.free.sigmoid() if self.settings.bound == "sigmoid" else self.free

    def step(self, number: int) -> float:
        """One step of Adam; the loss before it."""
        self.adam.zero_grad()
        total = 0.0
        for task in self.tasks:
            batches = self.batches[task.name]
            place = number % len(batches)
            loss = self.loss(task, place, self.matrix) / len(self.tasks)
            loss.backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ValueError(
                f"objective {self.settings.objective!r}: the loss is not finite at step {number}; lower "
                "the learning rate, or load the models in float32"
            )
        self.adam.step()
        if self.settings.bound == "clamp":
            with torch.no_grad():
                self.free.clamp_(0, 1)
        return total

    def loss(self, task: FitTask, place: int, matrix: Matrix) -> Float[Tensor, ""]:
        """The objective on one batch of a task."""
        batch = self.batches[task.name][place]
        logits = self._logits(batch, matrix)
        expert = self._expert(task, place) if self.objective.needs_expert else None
        targets = batch.texts.tokens.roll(-1, dims=1)[batch.at]
        return self.objective.loss(Positions(logits, expert, targets, batch.weights))

    def values(self) -> tuple[tuple[float, ...], ...]:
        """The rows as numbers; a default row that no module uses is the mean of the others."""
        matrix = wide(self.matrix.detach())
        used = sorted(set(self.group_of.values()))
        if len(used) < len(matrix):
            matrix[-1] = matrix[used].mean(dim=0)
        return tuple(tuple(float(one) for one in row) for row in matrix)

    def _logits(self, batch: FitBatch, matrix: Matrix) -> Float[Tensor, "n d_vocab"]:
        rows = {key: matrix[number] for key, number in self.group_of.items()}
        with self.merge.coefficient_tensors(rows):
            logits = self.merge(batch.texts.tokens, batch.texts.attention_mask)
        return logits[batch.at].float() / self.settings.temperature

    def _expert(self, task: FitTask, place: int) -> Float[Tensor, "n d_vocab"]:
        """The logits of the expert, alone and without transforms, on a batch; computed once."""
        key = task.name, place
        if key not in self._expert_logits:
            batch = self.batches[task.name][place]
            (adapter,) = (one for one in self.merge.adapters if one.name == task.expert)
            alone = AdapterMerge(self.merge.host, [adapter])
            with torch.no_grad():
                logits = alone(batch.texts.tokens, batch.texts.attention_mask)
            self._expert_logits[key] = logits[batch.at].float() / self.settings.temperature
        return self._expert_logits[key]


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Inside, no parameter takes a gradient and dropout is off; outside, all as before."""
    training = model.training
    wanted = [one for one in model.parameters() if one.requires_grad]
    try:
        model.eval()
        for one in wanted:
            one.requires_grad_(False)
        yield
    finally:
        model.train(training)
        for one in wanted:
            one.requires_grad_(True)


def _check(tasks: Sequence[FitTask], names: Sequence[str]) -> None:
    if not tasks:
        raise ValueError("tasks is empty: a fit needs at least one")
    for task in tasks:
        if task.expert not in names:
            raise ValueError(
                f"task {task.name!r} has the expert {task.expert!r}, which is not among the adapters "
                f"{', '.join(names)}"
            )
        if not task.prompts or len(task.prompts) != len(task.replies):
            raise ValueError(
                f"task {task.name!r} has {len(task.prompts)} prompts and {len(task.replies)} replies; "
                "give at least one, and a reply for each"
            )


def _peak_bytes(device: torch.device) -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak + (torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0)

"""Training of a decomposition: warm start, steps, schedule, what is alive, checkpoints."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from lm_merge.decomposition.decomposition import Decomposition
from lm_merge.decomposition.losses import Step, faithfulness
from lm_merge.decomposition.masked import Target
from lm_merge.decomposition.masks import SeedDraws
from lm_merge.decomposition.saving import read_checkpoint, write_checkpoint
from lm_merge.decomposition.settings import DecompositionSettings

ALIVE_ABOVE = 0.1  # a component is alive if its importance exceeds this within ALIVE_EXAMPLES
ALIVE_EXAMPLES = 100_000
STREAMS = ("start", "data", "masks")  # what a seed draws, each from a generator of its own


class Fit:
    """A decomposition in training.

    A seed's numbers depend on that seed alone: starts, data and masks have generators by seed. What is
    drawn for all seeds together (which layers a subset loss masks) depends on the settings alone.
    """

    def __init__(
        self, target: Target, settings: DecompositionSettings, seeds: Sequence[int]
    ) -> None:
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds={list(seeds)}: give at least one seed, each once")
        weight = next(iter(target.layers.values())).weight
        self.generators = {
            stream: [generator_of(seed, place, weight.device) for seed in seeds]
            for place, stream in enumerate(STREAMS)
        }
        self.settings = settings
        start = self.generators["start"]
        self.decomposition = Decomposition.start(target, settings, seeds, start)
        self.optimizer = torch.optim.AdamW(
            list(self.decomposition.tensors.values()), lr=settings.lr, weight_decay=0.0
        )
        self.draw = SeedDraws(self.generators["masks"], settings.mask_source)
        self.step_number = 0
        self.cpu_seconds = 0.0
        self.history: list[dict[str, float | str]] = []  # rows of metrics, kept with checkpoints
        self.last_alive: dict[str, Int[Tensor, "seeds n_components"]] = {}

    def warm_start(self) -> None:
        """Fit U V to the weights alone for some steps: AdamW, lr 0.01, decay 0.1."""
        tensors = self.decomposition.tensors
        matrices = [one for name, one in tensors.items() if name.endswith((".U", ".V"))]
        optimizer = torch.optim.AdamW(matrices, lr=0.01, weight_decay=0.1)
        for _ in range(self.settings.faithful_start):
            step = Step(self.decomposition.factors(), {}, {}, matrices[0].new_ones(1, 1))
            optimizer.zero_grad()
            faithfulness(step).sum().backward()
            optimizer.step()

    def step(self) -> dict[str, Tensor]:
        """One step of the optimizer; the losses by name, one value a seed, before the step."""
        settings, number = self.settings, self.step_number
        began = time.process_time()
        if number == 0:
            self.warm_start()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, number)
        target = self.decomposition.target
        seen = self.decomposition.see(target.batch(self.generators["data"], settings.batch))
        choice = torch.Generator().manual_seed(number)
        losses = self.decomposition.losses(seen, self.draw, choice, number / settings.steps)
        total = torch.stack([settings.weight_of(name) * one for name, one in losses.items()])
        self.optimizer.zero_grad()
        total.sum().backward()
        self.optimizer.step()
        self._note_alive(seen.importances)
        self.step_number += 1
        self.cpu_seconds += time.process_time() - began
        return {name: one.detach() for name, one in losses.items()}

    def run(
        self,
        *,
        on_eval: Callable[["Fit", dict[str, Tensor]], None] = lambda fit, losses: None,
        checkpoint: Path | None = None,
        until: int | None = None,
    ) -> None:
        """Train to step `until` (None: the settings' last); goes on where a checkpoint left off.

        on_eval: called every `eval_every` steps and after the last. checkpoint: file that is written
        then. Raises ValueError where a loss is not finite.
        """
        if checkpoint is not None and checkpoint.exists() and self.step_number == 0:
            self.restore(checkpoint)
        last = self.settings.steps if until is None else min(until, self.settings.steps)
        while self.step_number < last:
            losses = self.step()
            if self.step_number % self.settings.eval_every == 0 or self.step_number == last:
                check_finite(losses, self.step_number)
                on_eval(self, losses)
                if checkpoint is not None:
                    self.save(checkpoint)

    def alive(self) -> dict[str, Tensor]:
        """By layer: which components had an importance above 0.1 in the last 100,000 examples."""
        window = max(1, ALIVE_EXAMPLES // self.settings.batch)
        return {name: last > self.step_number - window for name, last in self.last_alive.items()}

    def save(self, path: Path) -> None:
        """Write everything that going on needs."""
        write_checkpoint(path, self)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same settings and seeds; ValueError otherwise."""
        read_checkpoint(path, self)

    def _note_alive(self, importances: dict[str, Tensor]) -> None:
        for name, g in importances.items():
            last = self.last_alive.get(name)
            if last is None:
                last = torch.zeros_like(g[:, 0], dtype=torch.int64)
            now = (g.detach() > ALIVE_ABOVE).any(dim=1)
            self.last_alive[name] = last.masked_fill_(now, self.step_number + 1)


def generator_of(seed: int, stream: int, device: torch.device) -> torch.Generator:
    """The generator of one seed and one kind of draws."""
    return torch.Generator(device).manual_seed(seed * len(STREAMS) + stream + 1)


def learning_rate(settings: DecompositionSettings, step: int) -> float:
    """Learning rate of a step (from 0)."""
    n_rising = round(settings.lr_warmup_frac * settings.steps)
    if step < n_rising:
        return settings.lr * (step + 1) / n_rising
    if settings.schedule == "constant":
        return settings.lr
    done = (step - n_rising) / max(1, settings.steps - n_rising - 1)
    return settings.lr * math.cos(math.pi / 2 * min(1.0, done))


def check_finite(losses: dict[str, Tensor], step: int) -> None:
    """Raise ValueError that names the losses which are not finite."""
    broken = [name for name, values in losses.items() if not values.isfinite().all()]
    if broken:
        raise ValueError(
            f"step {step}: the losses {', '.join(broken)} are not finite; a smaller lr may help"
        )

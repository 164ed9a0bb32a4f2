"""How many texts a forward pass of the grid takes on a GPU, by the memory that is free."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from analyses.layerwise.config import LayerwiseConfig
from analyses.running.text_choice import batches
from lm_merge.models import HookedLM
from lm_merge.scoring.teacher_forced import CellScores, run_texts
from lm_merge.scoring.texts import Texts
from lm_merge.spaces.latents.latent_grid import LatentGrid

USED_FRAC = 0.5  # of the free memory; the rest is for what the estimate leaves out
COPIES_OF_A_STATE = 8  # of a merged state: in its dtype and in float32, for arcs and CKA
COPIES_IN_AN_MLP = 3
COPIES_OF_PARENTS = 3  # log-probabilities of host and donor in float32, and one that is made
DEFAULT: int = LayerwiseConfig.model_fields["batch_size"].default


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a GPU; None for another device, whose memory other programs share."""
    if device.type != "cuda":
        return None
    with torch.cuda.device(device):
        torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def bytes_of_a_text(host: HookedLM, n_pos: int, at_once: int) -> int:
    """Estimate of the memory that a text of `n_pos` tokens takes while `at_once` merges run."""
    assert host.native is not None
    config: Any = host.native.config.get_text_config()
    width = config.hidden_size
    within = COPIES_IN_AN_MLP * getattr(config, "intermediate_size", 4 * width)
    merged = at_once * (within * host.dtype.itemsize + COPIES_OF_A_STATE * width * 4)
    return n_pos * (merged + COPIES_OF_PARENTS * config.vocab_size * 4)


def text_batches(grid: LatentGrid, config: LayerwiseConfig) -> list[Texts]:
    """The texts in batches, of which the first is small: the time left is known after it.

    A `batch_size` at its default is on a GPU as many texts as half of its free memory takes by
    `bytes_of_a_text`. The most memory that a batch takes is tried once, with half as many texts where it
    runs out. Elsewhere, and with another `batch_size`, it is that number.
    """
    host = grid.merge.host
    parts = batches(host, config, n=config.n_texts)
    free = free_bytes(host.device)
    if free is None or host.native is None or config.batch_size != DEFAULT:
        return with_small_first(parts, 1)
    longest = max(part.tokens.shape[1] for part in parts)
    estimate = int(USED_FRAC * free) // bytes_of_a_text(host, longest, grid.at_once)

    def parts_of(size: int) -> list[Texts]:
        resized = config.model_copy(update={"batch_size": size})
        return batches(host, resized, n=config.n_texts)

    size = size_that_fits(
        lambda size: _try(grid, max(parts_of(size), key=lambda part: part.tokens.numel())),
        min(max(1, estimate), config.n_texts),
    )
    return with_small_first(parts_of(size), min(size, DEFAULT))


def size_that_fits(attempt: Callable[[int], None], size: int) -> int:
    """`size`, or the first half, quarter, ... of it that `attempt` does without running out of memory.

    Raises torch's OutOfMemoryError where 1 does not fit.
    """
    while True:
        try:
            attempt(size)
            return size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def with_small_first(parts: Sequence[Texts], n_first: int) -> list[Texts]:
    """The batches, the first of them in two: `n_first` texts, and its others."""
    first, *others = parts
    halves = [_rows(first, slice(n_first)), _rows(first, slice(n_first, None))]
    return [*(half for half in halves if len(half.tokens)), *others]


def _rows(texts: Texts, rows: slice) -> Texts:
    return replace(
        texts,
        tokens=texts.tokens[rows],
        attention_mask=texts.attention_mask[rows],
        answer=texts.answer[rows],
        prompt_end=texts.prompt_end[rows],
    )


def _try(grid: LatentGrid, texts: Texts) -> None:
    """Measure the merges of the lowest block that run together, and forget them: the largest unit."""
    lowest = [cell for cell in grid.cells if cell.layer == grid.layers[0]]
    one = LatentGrid(grid.merge, tuple(lowest[: grid.at_once]), at_once=grid.at_once)
    CellScores(one.cells).update(run_texts(one, texts), texts)

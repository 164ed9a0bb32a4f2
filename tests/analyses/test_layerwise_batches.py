"""Batches of the layerwise grid: a small first one, and on a GPU as many texts as fit."""

import pytest
import torch

from analyses.layerwise import batch_size
from analyses.layerwise.batch_size import bytes_of_a_text, size_that_fits, text_batches
from analyses.layerwise.config import LayerwiseConfig
from analyses.layerwise.grid import grid_of
from lm_merge.scoring.teacher_forced import CellScores
from lm_merge.spaces.compose import compose_latents

GRID = {"layers": (3, 7), "operators": ("lerp",), "alphas": (0.5,), "n_texts": 40}


@pytest.fixture(scope="module")
def grid():
    config = LayerwiseConfig(**GRID)
    return grid_of(config, compose_latents(config.recipe))


def sizes(grid, **changes) -> list[int]:
    return [len(part.tokens) for part in text_batches(grid, LayerwiseConfig(**GRID, **changes))]


def test_on_a_cpu_one_text_comes_first_and_the_number_given_is_used(grid):
    assert sizes(grid) == [1, 15, 16, 8]
    assert sizes(grid, batch_size=1) == [1] * 40


@pytest.mark.slow
def test_on_a_gpu_half_of_the_free_memory_gives_the_number(grid, monkeypatch):
    whole = text_batches(grid, LayerwiseConfig(**GRID))
    longest = max(part.tokens.shape[1] for part in whole)
    a_text = bytes_of_a_text(grid.merge.host, longest, grid.at_once)
    free = [0]
    monkeypatch.setattr(batch_size, "free_bytes", lambda device: free[0])
    for n_fit, expected in ((30, [16, 14, 10]), (1000, [16, 24]), (0, [1] * 40)):
        free[0] = 2 * n_fit * a_text
        assert sizes(grid) == expected
    assert sizes(grid, batch_size=20) == [1, 19, 20]  # as given
    parts = text_batches(grid, LayerwiseConfig(**GRID))
    assert torch.equal(parts[0].tokens[0, :8], whole[0].tokens[0, :8])  # the same texts in order


@pytest.mark.slow
def test_half_as_many_are_tried_where_memory_runs_out(grid, monkeypatch):
    tried, plain = [], CellScores.update

    def short(self, passed, texts, *arguments, **keywords):
        tried.append(len(texts.tokens))
        if len(texts.tokens) > 12:
            raise torch.OutOfMemoryError("fake")
        plain(self, passed, texts, *arguments, **keywords)

    monkeypatch.setattr(CellScores, "update", short)
    monkeypatch.setattr(batch_size, "free_bytes", lambda device: 10**15)
    assert sizes(grid) == [10] * 4
    assert tried == [40, 20, 10]

    def never(size: int) -> None:
        raise torch.OutOfMemoryError("fake")

    with pytest.raises(torch.OutOfMemoryError):
        size_that_fits(never, 3)

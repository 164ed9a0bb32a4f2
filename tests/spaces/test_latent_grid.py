"""Merges evaluated together are the merges one by one; what a grid cannot hold is refused."""

import pytest
import torch
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.spaces.latents.latent_grid import GridCell, LatentGrid
from tests.families import random_lm, random_tokens

MASK = torch.tensor([[1] * 8, [1] * 5 + [0] * 3, [0] * 2 + [1] * 6])
OPERATORS = ("lerp", "slerp", "regmean", "task_vector")
CELLS = tuple(
    GridCell(layer, operator, alpha)
    for layer in (0, 2, 3)
    for operator in OPERATORS
    for alpha in (0.25, 0.75)
)


@pytest.mark.parametrize(
    ("family", "at_once"),
    [
        ("qwen2", 3),
        ("gemma2", 3),
        pytest.param("qwen2", 16, marks=pytest.mark.slow),
        pytest.param("gpt_neox", 3, marks=pytest.mark.slow),
    ],
)
def test_every_cell_gives_the_logits_of_its_own_merge(family, at_once):
    host, donor, other, base = (random_lm(family, seed) for seed in range(4))
    tokens, shared = random_tokens(3, 8), {"donor_weights": (0.25, 0.75)}
    merge = lm.LatentMerge(
        host, [donor, other], operator="task_vector", base=base, layers=[0], alpha=1.0, **shared
    )
    passed = LatentGrid(merge, CELLS, at_once=at_once).run(tokens, MASK)
    seen = []
    for cells, ends in passed.ends():
        for cell, end in zip(cells, ends, strict=True):
            seen.append(cell)
            one = lm.LatentMerge(
                host,
                [donor, other],
                operator=cell.operator,
                base=base if cell.operator == "task_vector" else None,
                layers=[cell.layer],
                alpha=cell.alpha,
                **shared,
            )
            with torch.no_grad():
                expected = one(tokens, MASK)[MASK.bool()]
                got = passed.host.tail.readout(end)[MASK.bool()]
            assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert sorted(seen) == sorted(CELLS)


@pytest.mark.slow
def test_only_the_tokens_named_are_merged():
    host, donor, tokens = random_lm("qwen2", 0), random_lm("qwen2", 1), random_tokens(3, 8)
    merge = lm.LatentMerge(host, donor, layers=[1], alpha=0.5, positions="last")
    last = torch.zeros_like(MASK).bool()
    last[[0, 1, 2], [7, 4, 7]] = True
    passed = LatentGrid(merge, (GridCell(1, "slerp", 0.5),)).run(tokens, MASK, last)
    ((_, ends),) = passed.ends()
    with torch.no_grad():
        expected = merge(tokens, MASK)[MASK.bool()]
        got = passed.host.tail.readout(ends[0])[MASK.bool()]
    assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_a_state_that_is_not_finite_names_its_cell():
    host, donor = random_lm("qwen2", 0), random_lm("qwen2", 1)
    with torch.no_grad():
        donor.native_blocks()[1].mlp.down_proj.weight.fill_(torch.inf)
    grid = LatentGrid(
        lm.LatentMerge(host, donor, layers=[1], alpha=0.5), (GridCell(1, "lerp", 0.5),)
    )
    with pytest.raises(lm.NonFiniteMerge, match="layer=1, operator='lerp', alpha=0.5"):
        list(grid.run(random_tokens(1, 4), torch.ones(1, 4, dtype=torch.long)).ends())


def test_a_grid_refuses_what_it_cannot_hold():
    merge = lm.LatentMerge(random_lm("qwen2", 0), random_lm("qwen2", 1), layers=[0], alpha=0.5)
    for cells, message in [
        ((), "cells is empty"),
        ((GridCell(4, "lerp", 0.5),), r"layer=4 is outside 0\.\.3"),
        ((GridCell(0, "task_vector", 0.5),), "needs a base"),
    ]:
        with pytest.raises(ValueError, match=message):
            LatentGrid(merge, cells)

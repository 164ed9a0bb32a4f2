"""Merges of whole models, in weights or in logits, beside a grid of merges at one block."""

from collections.abc import Iterator

import torch

from analyses.compositions import Compositions
from lm_merge.models.tail import Tail
from lm_merge.scoring.teacher_forced import Spoken, Texts, WholeMerge, end_of


def wholes_of(merges: Compositions) -> dict[WholeMerge, float]:
    """The merges of a recipe at its alphas."""
    space, operator = merges.recipe.space, merges.recipe.operator
    return {WholeMerge(space, operator, alpha): alpha for alpha in merges.at}


def speak(merges: Compositions, texts: Texts) -> Iterator[tuple[WholeMerge, Spoken]]:
    """What each of them says of a batch, and its stream at the last block if it has one."""
    tokens, mask = texts.tokens, texts.attention_mask
    for key, alpha in wholes_of(merges).items():
        with torch.no_grad(), merges.at[alpha]() as speaker:
            if merges.has_stream:
                passed = Tail(speaker).record(tokens, mask, layers=())
                spoken = Spoken(passed.tail.readout(end_of(passed)), end_of(passed))
            else:
                spoken = Spoken(speaker(tokens, mask))
        yield key, spoken

"""Fixtures that several tests share."""

import pytest
import torch

import lm_merge as lm


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_instruct() -> lm.HookedLM:
    return lm.load("tiny-instruct")


@pytest.fixture(scope="session")
def tiny_thinker() -> lm.HookedLM:
    return lm.load("tiny-thinker")

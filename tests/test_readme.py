"""The code of the README and of the guide's page about extending runs and gives what is promised."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.operators import OPERATORS
from lm_merge.spaces.composed import Composed

PROJECT = Path(__file__).parents[1]
README, EXTENDING = PROJECT / "README.md", PROJECT / "docs" / "extending.md"
# imports of the modules that would contain the examples
IMPORTS = """
from collections.abc import Callable
from contextlib import contextmanager
from typing import Literal
import pandas as pd
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from analyses.running.command_line import Tables
from lm_merge.caches.merge_cache import merge_cache
from lm_merge.evaluation import question_set
from lm_merge.models import HookedLM
from lm_merge.sites import record_resid_post
from lm_merge.sites.next_token_logits import attach_logits
from analyses.running.measured import MeasuredRecipe
from lm_merge.recipes import LogitRecipe, Recipe, Source
from lm_merge.runs.record import Run
from lm_merge.spaces.compose import compose_latents
from lm_merge.spaces.logits.logit_stream import LogitStream
"""


def example(word: str, page: Path = EXTENDING) -> dict[str, Any]:
    """The names that the page's one block of Python with this word defines."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (code,) = [block for block in blocks if word in block]
    names: dict[str, Any] = {"__name__": "readme"}
    exec(IMPORTS + code, names)
    return names


def test_the_first_example_runs_and_its_recipe_gives_the_merge_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = example("lm.LatentMerge(host, donor", README)
    assert repr(lm.compose("merge.yaml")) == repr(names["merge"])


def test_an_operator_of_ones_own_merges(monkeypatch, tiny_instruct, tiny_thinker):
    monkeypatch.setitem(OPERATORS, "loudest", example("def loudest")["loudest"])
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, operator="loudest", layers=[3], alpha=0.1)
    assert merge.generate("What is the capital of Norway?", chat=True) == "Oslo"


def test_a_space_of_ones_own_generates(tiny_instruct, tiny_thinker):
    recipe = lm.Recipe(
        space="logits", host="tiny-instruct", donors=("tiny-thinker",), operator="soft", alpha=0.25
    )
    loaded = {"tiny-instruct": tiny_instruct, "tiny-thinker": tiny_thinker}
    contrast = example("class Contrast")["Contrast"](recipe, loaded.__getitem__)
    assert isinstance(contrast, Composed)
    tokens = tiny_instruct.to_tokens("12+34 = ?", chat=True)
    with torch.no_grad():
        expected = tiny_instruct(tokens.input_ids) - 0.25 * tiny_thinker(tokens.input_ids)
        assert_close(contrast(tokens.input_ids, tokens.attention_mask), expected)
    texts = contrast.generate(["What is the capital of Norway?", "12+34 = ?"], chat=True)
    assert texts[0] == "Oslo"


@pytest.mark.slow
def test_an_analysis_of_ones_own_measures():
    names = example("class LengthsConfig")
    recipe = {"host": "tiny-instruct", "donors": ("tiny-thinker",), "layers": (3,)}
    lengths = {}
    for alpha in (0.0, 0.5):
        config = names["LengthsConfig"](recipe={**recipe, "alpha": alpha}, n_prompts=1)
        lengths[alpha] = names["run"](config)["lengths"].length
    assert len(lengths[0.0]) == 8
    assert lengths[0.0][:3].tolist() == pytest.approx(lengths[0.5][:3].tolist())
    assert lengths[0.0][3] != pytest.approx(lengths[0.5][3], rel=1e-3)

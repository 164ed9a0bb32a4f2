"""A space of a user's own, as the guide adds one, goes the whole way: recipe, evaluation, harnesses."""

import asyncio
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from test_readme import example

import lm_merge as lm
from analyses.comparison.systems import load_system
from lm_merge.evaluation.replies import reply_in_batches
from lm_merge.recipes import recipe as recipes
from lm_merge.scoring.compositions import compositions
from lm_merge.spaces import Composed, compose, system

pytest.importorskip("lm_eval", reason="needs lm-merge[harness]")
pytest.importorskip("inspect_ai", reason="needs lm-merge[inspect]")

from lm_eval.api.instance import Instance  # noqa: E402

from lm_merge.evaluation.engines.harness_model import MergedLM  # noqa: E402

RECIPE = {
    "space": "contrast",
    "host": "tiny-instruct",
    "donors": ["tiny-coder"],
    "operator": "soft",
    "alpha": 0.9,
}
PROMPTS = ["What is the capital of Norway?", "47+38 = ?", "What is the capital of France?"]


@pytest.fixture
def path(tmp_path, monkeypatch) -> Any:
    """A file with a recipe of the space, which the guide's code and its entries define."""
    names = example("class Contrast:")
    module = ModuleType("lm_merge.recipes.contrast")
    module.ContrastRecipe = names["ContrastRecipe"]  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(recipes.CLASSES, "contrast", "ContrastRecipe")
    monkeypatch.setitem(compose.COMPOSERS, "contrast", names["Contrast"])
    return lm.Recipe.load(RECIPE).save(tmp_path / "contrast.yaml")


def by_recomputation(host: lm.HookedLM, prompt: str) -> str:
    """Greedy text from whole forwards of both models; knows of no hooks and caches."""
    weak, tokens = lm.load("tiny-coder"), host.to_tokens(prompt, chat=True).input_ids
    n_prompt = tokens.shape[1]
    with torch.no_grad():
        while tokens.shape[1] < n_prompt + 24 and tokens[0, -1] != host.tokenizer.eos_token_id:
            logits = host.native(tokens).logits - 0.9 * weak.native(tokens).logits
            tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], dim=1)
    return host.tokenizer.decode(tokens[0, n_prompt:], skip_special_tokens=True)


def score(host: lm.HookedLM, context: str, text: str) -> float:
    """Log-likelihood of a text after its context, from one whole forward of both models."""
    encode = host.tokenizer.encode
    tokens, n_context = torch.tensor([encode(context + text)]), len(encode(context))
    with torch.no_grad():
        logits = host.native(tokens).logits - 0.9 * lm.load("tiny-coder").native(tokens).logits
    before = logits[0, n_context - 1 : -1].log_softmax(-1)
    return float(before.gather(-1, tokens[0, n_context:, None]).sum())


async def of_inspect(name: str) -> list[str]:
    from inspect_ai.model import GenerateConfig, get_model

    model, settings = get_model(name, memoize=False), GenerateConfig(temperature=0.0, max_tokens=24)
    try:
        return [(await model.generate(one, config=settings)).completion for one in PROMPTS]
    finally:
        model.api.close()


@pytest.mark.usefixtures("inspect_user")
def test_it_goes_through_recipe_evaluation_and_both_harnesses(path):
    recipe = lm.Recipe.load(path)
    assert recipe.space == "contrast"
    contrast = system(path)
    assert isinstance(contrast, Composed)
    assert isinstance(load_system(recipe, device=None, dtype=None), Composed)
    expected = [by_recomputation(contrast.host, prompt) for prompt in PROMPTS]
    assert len(set(expected)) == len(PROMPTS)

    batches = reply_in_batches(contrast, PROMPTS, max_new_tokens=24, batch_size=2)
    assert [one.text for batch in batches for one in batch] == expected

    harness = MergedLM(path, batch_size=2)
    chats = [contrast.host.tokenizer.apply_chat_template(
        [{"role": "user", "content": one}], tokenize=False, add_generation_prompt=True
    ) for one in PROMPTS]  # fmt: skip
    asked = [
        Instance("generate_until", {}, (chat, {"until": ["\0"], "max_gen_toks": 24}), index)
        for index, chat in enumerate(chats)
    ]
    assert harness.generate_until(asked, disable_tqdm=True) == expected
    scored = Instance("loglikelihood", {}, (PROMPTS[0], " Oslo"), 0)
    [(value, _)] = harness.loglikelihood([scored], disable_tqdm=True)
    assert value == pytest.approx(score(contrast.host, PROMPTS[0], " Oslo"), abs=1e-3)

    assert asyncio.run(of_inspect(f"lm_merge/{path}")) == expected


def test_an_analysis_that_varies_alpha_names_the_space(path):
    with pytest.raises(ValueError, match="space='contrast' is not one whose alpha"):
        compositions(lm.Recipe.load(path), [0.5])

"""Continue prompts with what a recipe describes, in whichever space, or with a model alone."""

from collections.abc import Sequence
from pathlib import Path

from analyses.running.loading_bars import without_loading_bars
from analyses.running.options import call_with


def main(argv: Sequence[str]) -> None:
    """Run `generate` with options from the command line."""
    call_with(generate, argv, prog="lm-merge generate")


def generate(
    recipe: Path,
    prompt: list[str] | str,
    max_new_tokens: int = 64,
    chat: bool = True,
    device: str | None = None,
    dtype: str | None = None,
    seed: int | None = None,
) -> None:
    """Continue prompts with what a recipe describes, in whichever space, or with a model alone.

    Args:
        recipe: YAML file; or a model's name or folder
        prompt: '12+34 = ?', or several as '["12+34 = ?", "5+6 = ?"]'
        max_new_tokens: tokens to add at most
        chat: put prompts into the host's chat template
        device: torch device; the CPU unless given
        dtype: torch dtype; the checkpoint's unless given
        seed: of the tokens drawn, where the host's generation settings draw at random
    """
    from lm_merge.spaces.compose import system

    if not prompt:
        raise ValueError(f"prompt={prompt!r} is empty; give a text, or a list of at least one")
    without_loading_bars()
    source = system(recipe, device=device, dtype=dtype)
    prompts = [prompt] if isinstance(prompt, str) else prompt
    for text in source.generate(prompts, chat=chat, max_new_tokens=max_new_tokens, seed=seed):
        print(text)

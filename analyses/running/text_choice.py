"""Which texts an analysis reads: bundled questions with their answers, or the lines of a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from analyses.running.text_options import PromptOptions, TextOptions
from lm_merge.evaluation import question_set
from lm_merge.generation import EncodedPrompts
from lm_merge.models import HookedLM
from lm_merge.scoring.texts import Texts, encode_plain, encode_questions
from lm_merge.zoo.tasks import CATEGORIES, Question

ItemT = TypeVar("ItemT")


def batches(host: HookedLM, config: TextOptions, *, n: int) -> list[Texts]:
    """The first n texts: questions with their answers, or lines of the file."""
    if config.texts is not None:
        return _plain(host, lines_of(config.texts, "texts")[:n], config, chat=False)
    questions = questions_in_turn(n, config.seed)
    return [
        encode_questions(host, part, chat=config.chat)
        for part in in_parts(questions, config.batch_size)
    ]


def encoded_prompts(host: HookedLM, config: PromptOptions) -> list[EncodedPrompts]:
    """The configuration's prompts, encoded by the host, in batches."""
    parts = in_parts(prompts_of(config), config.batch_size)
    return [host.to_tokens(part, chat=config.chat) for part in parts]


def prompts_of(config: PromptOptions) -> list[str]:
    """The lines of the configuration's file, or bundled questions."""
    if config.prompts is None:
        return [one.prompt for one in questions_in_turn(config.n_prompts, config.seed)]
    return lines_of(config.prompts, "prompts")[: config.n_prompts]


def prompt_batches(
    host: HookedLM,
    config: TextOptions,
    *,
    n: int,
    after: int = 0,
    prompts: Sequence[str] | None = None,
) -> list[Texts]:
    """Texts without answers: the prompts given; else lines of the file, or the prompts of questions
    that are others than those of `batches`.

    after: lines to pass over, as `batches` reads them; where none is left, none is passed over.
    """
    if prompts is None and config.texts is not None:
        lines = lines_of(config.texts, "texts")
        return _plain(host, (lines[after:] or lines)[:n], config, chat=False)
    if prompts is None:
        prompts = [question.prompt for question in questions_in_turn(n, config.seed + 1)]
    return _plain(host, prompts, config, chat=config.chat)


def _plain(host: HookedLM, texts: Sequence[str], config: TextOptions, *, chat: bool) -> list[Texts]:
    return [encode_plain(host, part, chat=chat) for part in in_parts(texts, config.batch_size)]


def lines_of(path: Path, argument: str) -> list[str]:
    """The lines of a file that hold text. Raises ValueError that names the argument if none does."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{argument}={path} holds no line of text")
    return lines


def questions_in_turn(n: int, seed: int) -> list[Question]:
    """n questions, one of each category in turn, so that every batch holds all four."""
    per_category = -(-n // len(CATEGORIES))
    drawn = question_set(per_category, seed=seed)
    return [question for i in range(per_category) for question in drawn[i::per_category]][:n]


def in_parts(items: Sequence[ItemT], size: int) -> list[Sequence[ItemT]]:
    """The items, so many at a time."""
    return [items[start : start + size] for start in range(0, len(items), size)]

"""The questions of `make real` as files of one's own questions, written once from the data."""

import json
from collections.abc import Iterable
from pathlib import Path

from analyses.real.config import RealConfig
from analyses.real.word_problems import held_out_questions
from lm_merge.evaluation.massive import read_massive

PROMPT = "Which intent does this request have?\n{text}"
TRAINED = {"intent-en": "en-US", "intent-fr": "fr-FR", "intent-de": "de-DE"}  # adapter -> locale
UNSEEN = {"intent-es": "es-ES", "intent-it": "it-IT", "intent-pt": "pt-PT"}


def word_problem_file(config: RealConfig, folder: Path) -> Path:
    """Math questions; right is the last number after the thought."""
    rows = [
        {"prompt": prompt, "answer": answer, "category": "math", "check": "number"}
        for prompt, answer in held_out_questions(config.data, config.n_questions)
    ]
    return _written(folder / f"math_{config.n_questions}.jsonl", rows)


def intent_file(config: RealConfig, folder: Path) -> Path:
    """Intents in six languages, one category each; right is exactly the intent, words apart."""
    locales = TRAINED | UNSEEN
    by_locale = read_massive(config.data / "massive", tuple(locales.values()), "test")
    rows = []
    for name, locale in locales.items():
        texts, seen = by_locale[locale], set()
        for text, label in zip(texts.texts, texts.labels, strict=True):
            if len(seen) == config.n_requests or text in seen:
                continue
            seen.add(text)
            prompt = PROMPT.format(text=text)
            if any(row["prompt"] == prompt for row in rows):
                continue  # the same words in two languages
            answer = label.replace("_", " ")
            rows.append({"prompt": prompt, "answer": answer, "category": name, "split": "test"})
    return _written(folder / f"intents_{config.n_requests}.jsonl", rows)


def _written(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path

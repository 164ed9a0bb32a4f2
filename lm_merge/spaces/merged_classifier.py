"""Classifiers merged in space 'weights', in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from lm_merge.models.classifier import Classifier, wrap_classifier
from lm_merge.models.model_class import model_class, resolved_config
from lm_merge.models.tokenizer_files import VOCABULARY_FILES
from lm_merge.recipes import Recipe, as_source
from lm_merge.spaces.composed import composed_name
from lm_merge.spaces.weights import merge_in_memory
from lm_merge.spaces.weights.sources import local_folder


def merged_classifier(
    recipe: str | Path | dict[str, Any] | Recipe,
    *,
    prompts: str | Path | Sequence[str] | None = None,
) -> tuple[Classifier, tuple[str, ...]]:
    """The classifier that a recipe of space 'weights' describes, and the notes of the merge.

    Nothing is kept on disk. prompts: data of regmean and fisher; the recipe's unless given. Raises
    ValueError where the host is no classifier that transformers or the zoo knows.
    """
    given = Recipe.load(recipe)
    tensors, settings, notes = merge_in_memory(given, prompts=prompts)
    kind = model_class(settings)
    if kind is None or not kind.__name__.endswith("Classification"):
        raise ValueError(
            f"host {as_source(given.host).model!r} is no classifier that can be loaded"
        )
    model = kind(resolved_config(settings))
    model.load_state_dict(tensors)
    folder = local_folder(as_source(given.host))
    has_words = any((folder / name).is_file() for name in VOCABULARY_FILES)
    tokenizer = AutoTokenizer.from_pretrained(folder) if has_words else None
    names = [Path(as_source(one).model).name for one in (given.host, *given.donors)]
    name = composed_name(names, "weights", given.operator, "")
    return wrap_classifier(model, tokenizer, name), notes

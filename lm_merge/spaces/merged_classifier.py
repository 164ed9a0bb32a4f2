"""Classifiers and encoders merged in space 'weights', in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lm_merge.models.classifier import Classifier, wrap_classifier
from lm_merge.models.encoder import Encoder
from lm_merge.models.model_class import model_class, resolved_config
from lm_merge.models.tokenizer_files import VOCABULARY_FILES
from lm_merge.recipes import Recipe, as_source
from lm_merge.spaces.composed import composed_name
from lm_merge.spaces.weights import merge_in_memory
from lm_merge.spaces.weights.sources import local_folder

Prompts = str | Path | Sequence[str] | None


def merged_classifier(
    recipe: str | Path | dict[str, Any] | Recipe, *, prompts: Prompts = None
) -> tuple[Classifier, tuple[str, ...]]:
    """The classifier that a recipe of space 'weights' describes, and the notes of the merge.

    Nothing is kept on disk. prompts: data of regmean and fisher; the recipe's unless given. Raises
    ValueError where the host is no classifier that transformers or the zoo knows.
    """
    given = Recipe.load(recipe)
    model, notes = _merged(given, prompts)
    if not type(model).__name__.endswith("Classification"):
        raise ValueError(
            f"host {as_source(given.host).model!r} is no classifier: its class is "
            f"{type(model).__name__}; take task 'encoding', or a host with a head of labels"
        )
    return wrap_classifier(model, _tokenizer(given), _name(given)), notes


def merged_encoder(
    recipe: str | Path | dict[str, Any] | Recipe, *, prompts: Prompts = None
) -> tuple[Encoder, tuple[str, ...]]:
    """The body of encoders or classifiers merged in space 'weights', and the notes of the merge."""
    given = Recipe.load(recipe)
    model, notes = _merged(given, prompts)
    return Encoder(model.base_model.eval(), _tokenizer(given), _name(given)), notes


def _merged(recipe: Recipe, prompts: Prompts) -> tuple[Any, tuple[str, ...]]:
    tensors, settings, notes = merge_in_memory(recipe, prompts=prompts)
    kind = model_class(settings)
    if kind is None:
        raise ValueError(
            f"host {as_source(recipe.host).model!r}: its config.json names no class that transformers "
            "has; give a host with one in architectures"
        )
    model = kind(resolved_config(settings))
    model.load_state_dict(tensors)
    return model, notes


def _tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase | None:
    folder = local_folder(as_source(recipe.host))
    has_words = any((folder / name).is_file() for name in VOCABULARY_FILES)
    return AutoTokenizer.from_pretrained(folder) if has_words else None


def _name(recipe: Recipe) -> str:
    names = [Path(as_source(one).model).name for one in (recipe.host, *recipe.donors)]
    return composed_name(names, "weights", recipe.operator, "")

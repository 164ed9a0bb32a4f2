"""The option `--recipe FILE`, and `--recipe.alpha 0.3` and its like, which change its fields."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from analyses.running.recipe_words import own_alpha
from lm_merge.recipes import Recipe, read_mapping, read_value

OPTION = "--recipe."


def split_changes(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The arguments without `--recipe.KEY VALUE`, and the values by key, read as YAML.

    >>> split_changes(["--n", "4", "--recipe.layers", "{3: 0.5}", "--recipe.operator=lerp"])
    (['--n', '4'], {'layers': {3: 0.5}, 'operator': 'lerp'})
    """
    left: list[str] = []
    changes: dict[str, Any] = {}
    words = iter(argv)
    for word in words:
        if not word.startswith(OPTION):
            left.append(word)
            continue
        key, equals, value = word.removeprefix(OPTION).partition("=")
        if not equals:
            found = next(words, None)
            if found is None:
                raise ValueError(f"{word} needs a value")
            value = found
        changes[key] = read_value(value, OPTION + key)
    return left, changes


def changed(recipe: str | Path | Mapping[str, Any] | Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with other values; `outer.inner` changes an entry of a field.

    What is not changed stays: other blocks are merged by the recipe's alpha, another alpha counts at all
    of its blocks.

    >>> from analyses.running.measured import BUNDLED_PAIR
    >>> changed(BUNDLED_PAIR, {"layers": [3], "alpha": 0.25}).alpha
    0.25
    """
    read = Recipe.load(dict(recipe) if isinstance(recipe, Mapping) else recipe)
    given: dict[str, Any] = {key: getattr(read, key) for key in read.model_fields_set}
    for path, value in changes.items():
        *outer, last = path.split(".")
        inside = given
        for key in outer:
            inside[key] = dict(inside.get(key) or {})
            inside = inside[key]
        inside[last] = value
    layers = given.get("layers")
    if "alpha" in changes and "layers" not in changes and isinstance(layers, dict):
        given["layers"] = tuple(layers)  # one alpha at all its blocks
    if isinstance(changes.get("layers"), list | tuple) and given.get("alpha") is None:
        given["alpha"] = own_alpha(read)  # at other blocks
    if "layers" not in changes and changes.get("space", "latents") != "latents":
        given["alpha"] = changes.get("alpha", own_alpha(read))
        given.pop("layers", None)
    return Recipe.load(given)


def refuse_recipe_as_config(argv: Sequence[str]) -> None:
    """Raise ValueError for `--config FILE` whose file is a recipe, not a configuration."""
    for word, after in pairwise([*argv, ""]):
        name, _, file = word.partition("=")
        path = Path(file or after)
        if name != "--config" or not path.is_file():
            continue
        if {"host", "donors"} <= set(read_mapping(path, "configuration")):
            raise ValueError(
                f"--config {path} is a recipe, not a configuration of this analysis: give it as "
                f"--recipe {path}"
            )

"""A search in the format that names `adapters`, a `method` and a `search`, as fields of ours.

Its parameters are of the file's `method_params`; each trial is the file's merge with other values there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_merge.recipes import Recipe, read_mapping
from lm_merge.recipes.reference_format import is_reference, read_reference
from lm_merge.tuning.search.space import Parameter

PARAMETER = "method_params."
TYPES = {"bayes": "gp", "grid": "grid"}
SEARCH_KEYS = ("type", "budget", "init_points", "seed", "space", "grid")
ENDS = {"min": "low", "max": "high", "values": "choices"}  # other names of a parameter's keys


def fields_of(path: Path) -> dict[str, Any]:
    """Fields of a search for a file in that format; what is evaluated there is set by our own fields.

    Raises ValueError that names the key for what is unknown or has no counterpart.
    """
    content = _content(path)
    search = dict(content.get("search") or {})
    if "grid" in content:  # an older place of it
        search = {"type": "grid", **search, "grid": content["grid"]}
    unknown = sorted(set(search) - set(SEARCH_KEYS))
    if unknown:
        raise ValueError(
            f"{path}: search.{unknown[0]} is unknown in this format; choose from "
            f"{', '.join(SEARCH_KEYS)}"
        )
    kind = search.get("type", "grid")
    if kind not in TYPES:
        raise ValueError(f"{path}: search.type={kind!r}; choose from {', '.join(TYPES)}")
    given = search.get("grid" if kind == "grid" else "space") or {}
    space = {f"{PARAMETER}{name}": _parameter(one) for name, one in given.items()}
    middle = {name: one.value(0.5) for name, one in space.items()}  # where the file has no value
    own = _with_values(content, {})["method_params"]
    missing = {name: one for name, one in middle.items() if name.removeprefix(PARAMETER) not in own}
    read = read_reference(_with_values(content, missing))
    settings: dict[str, Any] = {"type": TYPES[kind]}
    settings |= {key: search[key] for key in ("budget", "seed") if key in search}
    if "init_points" in search:
        settings["n_start"] = search["init_points"]
    if kind == "grid" and "budget" not in settings:
        settings["budget"] = _size(space)
    constraint = read.rest.get("constraint_nonnegative")
    if constraint is not None:
        settings["constraint_nonnegative"] = bool(constraint)
    found: dict[str, Any] = {"recipe": read.recipe, "space": space, "search": settings}
    if read.rest.get("save_merged") is not None:
        found["save_merged"] = bool(read.rest["save_merged"])
    return found


def recipe_with(path: Path, values: Mapping[str, Any]) -> Recipe:
    """The file's merge with other values of its method's parameters."""
    return read_reference(_with_values(_content(path), values)).recipe


def _with_values(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The content with values in `method_params`, where older keys go, too."""
    own = {name.removeprefix(PARAMETER): one for name, one in values.items()}
    params = {**dict(content.get("params") or {}), **dict(content.get("method_params") or {})}
    if "lambda" in content:
        params.setdefault("lambda", content["lambda"])
    rest = {key: one for key, one in content.items() if key not in ("params", "lambda")}
    return {**rest, "method_params": {**params, **own}}


def _content(path: Path) -> dict[str, Any]:
    content = read_mapping(path, "search")
    if not is_reference(content):
        raise ValueError(
            f"{path} names no `adapters` and `method`; give a search in our own format as --config"
        )
    return dict(content)


def _parameter(given: Any) -> Parameter:
    if not isinstance(given, Mapping):
        return Parameter.model_validate(given)
    fields = {ENDS.get(key, key): one for key, one in given.items() if key != "type"}
    kind = given.get("type", "float")
    if kind == "int":
        fields["integer"] = True
    return Parameter.model_validate(fields)


def _size(space: Mapping[str, Parameter]) -> int:
    size = 1
    for one in space.values():
        size *= len(one.grid())
    return size

"""The common subset of mergekit's YAML, read into our description of a weight merge."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lm_merge.operators.weight_methods import WEIGHT_METHODS
from lm_merge.recipes import ModelSource
from lm_merge.spaces.weights.description import Compat, Description, Slice, SliceSource

TOP = {
    "merge_method",
    "base_model",
    "models",
    "slices",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
}
IGNORED = {"int8_mask"}  # saves memory there; changes no result
METHODS = sorted(set(WEIGHT_METHODS) - {"regmean", "fisher"})


def is_mergekit_format(content: Mapping[str, Any]) -> bool:
    """Whether a recipe is in that format: it names a merge_method or slices."""
    return "merge_method" in content or "slices" in content


def from_mergekit(content: Mapping[str, Any], compat: Compat | None = None) -> Description:
    """The description that such a recipe amounts to; ValueError names a key that is not supported."""
    _refuse_unknown(content, TOP, "recipe in mergekit's format")
    method = content.get("merge_method")
    if method not in METHODS:
        raise ValueError(f"merge_method={method!r} is unknown; choose from {', '.join(METHODS)}")
    if ("models" in content) == ("slices" in content):
        raise ValueError("recipe in mergekit's format: give either models or slices")
    base = content.get("base_model")
    base = None if base is None else _source(base, "base_model")
    slices = _slices(content, base)
    return Description(
        method=str(method),
        slices=_host_first(slices, base) if method == "slerp" else slices,
        base=base if WEIGHT_METHODS[str(method)].base != "refused" else None,
        given_host=base,
        parameters=_parameters(content, "parameters"),
        dtype=content.get("out_dtype") or content.get("dtype"),
        tokenizer_source=content.get("tokenizer_source"),
        compat=compat,
        text=yaml.safe_dump(dict(content), sort_keys=False),
    )


def _slices(content: Mapping[str, Any], base: ModelSource | None) -> tuple[Slice, ...]:
    if "models" in content:
        entries = _entries(content["models"], "models")
        sources = [_slice_source(entry, {"model", "parameters"}, "models") for entry in entries]
        if content["merge_method"] == "slerp" and base not in [one.model for one in sources]:
            sources.insert(0, SliceSource(base)) if base is not None else None
        return (Slice(tuple(sources)),)
    slices = []
    for number, one in enumerate(_entries(content["slices"], "slices")):
        where = f"slices[{number}]"
        _refuse_unknown(one, {"sources", "parameters"}, where)
        keys = {"model", "layer_range", "parameters"}
        sources = [
            _slice_source(entry, keys, f"{where}.sources")
            for entry in _entries(one.get("sources"), f"{where}.sources")
        ]
        slices.append(Slice(tuple(sources), _parameters(one, where)))
    return tuple(slices)


def _slice_source(entry: Mapping[str, Any], keys: set[str], where: str) -> SliceSource:
    _refuse_unknown(entry, keys, where)
    blocks = entry.get("layer_range")
    if "layer_range" in keys and not (
        isinstance(blocks, list) and len(blocks) == 2 and all(type(b) is int for b in blocks)
    ):
        raise ValueError(f"{where}: layer_range={blocks!r} is no pair [first, last + 1]")
    return SliceSource(
        _source(entry.get("model"), where),
        None if blocks is None else (blocks[0], blocks[1]),
        _parameters(entry, where),
    )


def _source(given: Any, where: str) -> ModelSource:
    if not isinstance(given, str) or not given:
        raise ValueError(f"{where}: model={given!r} is no folder and no name")
    if "+" in given and not Path(given).exists():
        raise ValueError(f"{where}: model={given!r}: an adapter after '+' is not supported")
    name, at, revision = given.partition("@")
    if at and not Path(given).exists():
        return ModelSource(model=name, revision=revision)
    return ModelSource(model=given)


def _host_first(slices: tuple[Slice, ...], base: ModelSource | None) -> tuple[Slice, ...]:
    """slerp's t counts from base_model; here the host comes first."""
    if base is None:
        raise ValueError("merge_method 'slerp' needs base_model: t counts from it")
    ordered = []
    for one in slices:
        sources = sorted(one.sources, key=lambda source: source.model != base)
        if len(sources) != 2 or sources[0].model != base:
            raise ValueError("merge_method 'slerp' takes base_model and one other model")
        ordered.append(Slice(tuple(sources), one.parameters))
    return tuple(ordered)


def _parameters(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = content.get("parameters") or {}
    if not isinstance(given, dict):
        raise ValueError(f"{where}: parameters={given!r} is no mapping")
    return {key: value for key, value in given.items() if key not in IGNORED}


def _entries(given: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(given, list) or not given:
        raise ValueError(f"{where}={given!r} is no list of at least one entry")
    for entry in given:
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: the entry {entry!r} is no mapping")
    return given


def _refuse_unknown(content: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(str(key) for key in set(content) - known)
    if unknown:
        raise ValueError(
            f"{where}: {', '.join(unknown)}: not supported; choose from {', '.join(sorted(known))}"
        )

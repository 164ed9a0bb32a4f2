"""The common subset of mergekit's YAML, read as our recipe for weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_merge.errors import short
from lm_merge.operators.weight_methods import WEIGHT_METHODS
from lm_merge.recipes.parameters import check_settings
from lm_merge.recipes.slices import Slice, SliceSource
from lm_merge.recipes.sources import ModelSource
from lm_merge.recipes.weights import WeightRecipe

TOP = {
    "merge_method",
    "base_model",
    "models",
    "slices",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "accept",  # ours: mergekit compares no settings
}
IGNORED = {"int8_mask"}  # saves memory there; changes no result
METHODS = sorted(set(WEIGHT_METHODS) - {"regmean", "fisher"})
EXAMPLES = {
    "dtype": "float32",
    "out_dtype": "bfloat16",
    "tokenizer_source": "base or model:<name>; other forms are not supported",
}


def from_mergekit(content: Mapping[str, Any]) -> WeightRecipe:
    """Our recipe for the same merge; ValueError names a key that is not supported.

    The host is base_model, else the first model; dtype (or out_dtype) is the host's, which is that of
    the output; every model's parameters stand in its slice. `accept` is a key of ours. Filters that fit
    no tensor are noted, not refused, as such a recipe runs there.
    """
    _refuse_unknown(content, TOP, "recipe in mergekit's format")
    method = content.get("merge_method")
    if method not in METHODS:
        raise ValueError(
            f"merge_method={short(method)} is unknown; choose from {', '.join(METHODS)}"
        )
    if ("models" in content) == ("slices" in content):
        raise ValueError("recipe in mergekit's format: give either models or slices")
    base = content.get("base_model")
    base = None if base is None else _source(base, "base_model")
    slices = _slices(content, base)
    if method == "slerp":
        slices = _host_first(slices, base)
    models = [source.model for one in slices for source in one.sources]
    host = models[0] if base is None else base
    return WeightRecipe(
        host=host.model_copy(
            update={"dtype": _text(content, "out_dtype") or _text(content, "dtype")}
        ),
        donors=tuple(dict.fromkeys(one for one in models if one != host)),
        base=None if WEIGHT_METHODS[str(method)].base == "refused" else base,
        operator=str(method),
        operator_args=_parameters(content, "parameters"),
        slices=slices,
        tokenizer_source=_text(content, "tokenizer_source"),
        accept=_names(content, "accept"),
        unused_filters="note",  # as there
    )


def _slices(content: Mapping[str, Any], base: ModelSource | None) -> tuple[Slice, ...]:
    if "models" in content:
        entries = _entries(content["models"], "models")
        sources = [_slice_source(entry, {"model", "parameters"}, "models") for entry in entries]
        named = [one.model for one in sources]
        if content["merge_method"] == "slerp" and base is not None and base not in named:
            sources.insert(0, SliceSource(model=base))
        return (Slice(sources=tuple(sources)),)
    slices = []
    for number, one in enumerate(_entries(content["slices"], "slices")):
        where = f"slices[{number}]"
        _refuse_unknown(one, {"sources", "parameters"}, where)
        keys = {"model", "layer_range", "parameters"}
        sources = tuple(
            _slice_source(entry, keys, f"{where}.sources")
            for entry in _entries(one.get("sources"), f"{where}.sources")
        )
        slices.append(Slice(sources=sources, parameters=_parameters(one, where)))
    return tuple(slices)


def _slice_source(entry: Mapping[str, Any], keys: set[str], where: str) -> SliceSource:
    _refuse_unknown(entry, keys, where)
    blocks = entry.get("layer_range")
    if "layer_range" in keys and not (
        isinstance(blocks, list) and len(blocks) == 2 and all(type(b) is int for b in blocks)
    ):
        raise ValueError(f"{where}: layer_range={short(blocks)} is no pair [first, last + 1]")
    return SliceSource(
        model=_source(entry.get("model"), where),
        blocks=None if blocks is None else (blocks[0], blocks[1]),
        parameters=_parameters(entry, where),
    )


def _source(given: Any, where: str) -> ModelSource:
    if not isinstance(given, str) or not given:
        raise ValueError(f"{where}: model={short(given)} is no folder and no name")
    if Path(given).exists():
        return ModelSource(model=given)
    model, _, adapter = given.partition("+")
    name, _, revision = model.partition("@")
    return ModelSource(model=name, revision=revision or None, adapter=adapter or None)


def _host_first(slices: tuple[Slice, ...], base: ModelSource | None) -> tuple[Slice, ...]:
    """slerp's t counts from base_model; here the host comes first."""
    if base is None:
        raise ValueError("merge_method 'slerp' needs base_model: t counts from it")
    ordered = []
    for one in slices:
        sources = sorted(one.sources, key=lambda source: source.model != base)
        if len(sources) != 2 or sources[0].model != base:
            raise ValueError("merge_method 'slerp' takes base_model and one other model")
        ordered.append(Slice(sources=tuple(sources), parameters=one.parameters))
    return tuple(ordered)


def _parameters(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = content.get("parameters") or {}
    if not isinstance(given, dict):
        raise ValueError(f"{where}: parameters={short(given)} is no mapping")
    check_settings(given, where)
    return {key: value for key, value in given.items() if key not in IGNORED}


def _text(content: Mapping[str, Any], key: str) -> str | None:
    given = content.get(key)
    if not isinstance(given, str | None):
        raise ValueError(f"{key}={short(given)} is no text; give a name, such as {EXAMPLES[key]}")
    return given


def _names(content: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    given = content.get(key) or []
    if not isinstance(given, list):
        raise ValueError(f"{key}={short(given)} is no list; give names, such as [norm_eps]")
    return tuple(given)


def _entries(given: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(given, list) or not given:
        raise ValueError(f"{where}={short(given)} is no list of at least one entry")
    for entry in given:
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: the entry {short(entry)} is no mapping")
    return given


def _refuse_unknown(content: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(str(key) for key in set(content) - known)
    if unknown:
        raise ValueError(
            f"{where}: {', '.join(unknown)}: not supported; choose from {', '.join(sorted(known))}"
        )

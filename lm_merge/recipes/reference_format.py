"""A merge of adapters in the format that names `adapters` and a `method`, read as our recipe.

The format's keys are `adapters, method, merge_mode, method_params, transforms, lambda_policy, optimizer,
search, constraint_nonnegative, eval_tasks, split, save_merged, eval_subset, output_dir` and a few later
ones; older files have `grid`, `lambda` and `params`. It names no base model, which our recipe needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lm_merge.errors import short
from lm_merge.recipes.adapters import AdapterRecipe
from lm_merge.recipes.reference_methods import METHODS, OF_TWO, Given

MERGE_KEYS = {"adapters", "method", "merge_mode", "method_params", "transforms", "lambda_policy"}
OTHER_KEYS = {
    "optimizer",
    "search",
    "constraint_nonnegative",
    "eval_tasks",
    "split",
    "save_merged",
    "eval_subset",
    "output_dir",
    "compute_missing_interference_baselines",
    "post_sweep_eval",
}
OLDER_KEYS = {"grid", "lambda", "params"}
OWN_KEY = "host"  # the base model, which a file may name for us


@dataclass(frozen=True)
class ReferenceRecipe:
    """A file's merge as our recipe, and what else it says.

    notes: what was read in another way than it is written. rest: keys that are about evaluation and
    search, by their names in the file; `search` is in its present form.
    """

    recipe: AdapterRecipe
    notes: tuple[str, ...]
    rest: Mapping[str, Any] = field(default_factory=dict)


def is_reference(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is in this format."""
    return {"adapters", "method"} <= set(content) and "donors" not in content


def read_reference(content: Mapping[str, Any], host: str | None = None) -> ReferenceRecipe:
    """Our recipe for the merge of such a file.

    host: the base model; the file's own `host` unless given. Raises ValueError that names the key for
    what is unknown, has another form, or cannot be expressed.
    """
    content, notes = _present_keys(content)
    base = host or content.get(OWN_KEY)
    if base is None:
        raise ValueError(
            "host is missing: this format names adapters but no base model; add a line 'host: NAME', or "
            "give --host NAME"
        )
    adapters = content["adapters"]
    if not isinstance(adapters, list) or not adapters:
        raise ValueError(f"adapters={short(adapters)} is no list of at least one name")
    method, params = str(content["method"]), _mapping(content, "method_params")
    if method not in METHODS:
        raise ValueError(f"method={method!r} is unknown; choose from {', '.join(METHODS)}")
    policy = _mapping(content, "lambda_policy")
    fields = METHODS[method](Given(len(adapters), dict(params), policy))
    if policy and method not in OF_TWO:
        notes.append(f"lambda_policy changes nothing of method {method!r}; it is left out")
    recipe = AdapterRecipe.model_validate(
        {
            "host": base,
            "donors": [str(one) for one in adapters],
            "keys": _key_mode(content),
            "transforms": _transforms(content.get("transforms")),
            **fields,
        }
    )
    notes += _notes_on(content)
    rest = {key: content[key] for key in content if key in OTHER_KEYS}
    return ReferenceRecipe(recipe, tuple(notes), rest)


def _present_keys(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The content with older keys in their present places, and a note on each."""
    unknown = sorted(set(content) - MERGE_KEYS - OTHER_KEYS - OLDER_KEYS - {OWN_KEY})
    if unknown:
        known = ", ".join(sorted(MERGE_KEYS | OTHER_KEYS | OLDER_KEYS))
        raise ValueError(f"{', '.join(unknown)}: unknown in this format; choose from {known}")
    found, notes = dict(content), []
    params = dict(_mapping(found, "method_params"))
    if "params" in found:
        params = {**_mapping(found, "params"), **params}
        notes.append("params is an older key: read as method_params")
        del found["params"]
    if "lambda" in found:
        params.setdefault("lambda", found.pop("lambda"))
        notes.append("lambda is an older key: read as method_params.lambda")
    if "grid" in found:
        search = {"type": "grid", **_mapping(found, "search")}
        grid = found.pop("grid")
        if search.get("grid", grid) != grid:
            raise ValueError("grid and search.grid are both given and differ; leave one out")
        found["search"] = {**search, "grid": grid}
        notes.append("grid is an older key: read as search.grid")
    return {**found, "method_params": params}, notes


def _notes_on(content: Mapping[str, Any]) -> list[str]:
    """What the recipe does not hold, and who reads it."""
    notes = []
    kind = _mapping(content, "optimizer").get("type", "none")
    if kind != "none":
        notes.append(
            f"optimizer {kind!r} is no part of the recipe: fit with coefficients: {{fit: ...}} in "
            "python -m analyses.adapters, or search with python -m analyses.adapter_search"
        )
    if content.get("search"):
        notes.append("search is read by python -m analyses.adapter_search; this is the start of it")
    if content.get("split", "test") == "test" and (content.get("search") or kind != "none"):
        notes.append(
            "split is test: coefficients are chosen on dev here, so that test stays unseen"
        )
    return notes


def _key_mode(content: Mapping[str, Any]) -> str:
    mode = content.get("merge_mode", "common")
    if mode not in ("common", "strict"):
        raise ValueError(f"merge_mode={short(mode)}: choose from common, strict")
    return str(mode)


def _transforms(given: Any) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise ValueError(f"transforms={short(given)} is no list of {{name, params}}")
    found = []
    for one in given:
        if not set(one) <= {"name", "params"} or "name" not in one:
            raise ValueError(f"transforms: an entry has keys {sorted(one)}; give name and params")
        found.append({one["name"]: dict(one["params"])} if one.get("params") else one["name"])
    return found


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    given = content.get(key) or {}
    if not isinstance(given, Mapping):
        raise ValueError(f"{key}={short(given)} is no mapping")
    return given

"""Selected sources as one classifier: a merge of their weights, or a vote."""

from collections.abc import Mapping, Sequence
from typing import Any

from lm_merge.coefficients.selection import Selection
from lm_merge.models.classifier import Classifier, load_classifier
from lm_merge.models.loading import torch_dtype
from lm_merge.operators.distributions import ENSEMBLE_METHODS, UNWEIGHTED_METHODS
from lm_merge.operators.weight_methods import WEIGHT_METHODS, get_weight_method
from lm_merge.spaces.label_votes import LabelVotes
from lm_merge.spaces.merged_classifier import merged_classifier

VOTES, MERGES = tuple(ENSEMBLE_METHODS), tuple(WEIGHT_METHODS)
UNWEIGHTED_MERGES = ("model_stock",)
# of models of different languages: without equal norms the one with the largest gradients decides
DEFAULT_ARGS: dict[str, dict[str, Any]] = {"fisher": {"equal_norms": True, "floor": 1e-6}}


def check_method(method: str) -> None:
    """Raise ValueError that lists merges and votes unless the method is one of them."""
    if method not in {*VOTES, *MERGES}:
        raise ValueError(
            f"method={method!r} is unknown; choose a merge from {', '.join(MERGES)}, or a vote from "
            f"{', '.join(VOTES)}"
        )


def merge_recipe(
    selection: Selection,
    models: Mapping[str, str],
    method: str,
    *,
    base: str | None = None,
    method_args: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The recipe of space 'weights' that merges the selected sources with their weights.

    The first source is the host in name only: each source moves the result by its own weight. Fisher
    information is brought to one norm a model, and 1e-6 is added to it, unless method_args have other
    values. Raises ValueError where the method needs a base and none is given.
    """
    known = get_weight_method(method)
    if known.base == "needed" and base is None:
        raise ValueError(f"method {method!r} needs the models' common ancestor: give base")
    sources = [models[name] for name in selection.names]
    recipe: dict[str, Any] = {"space": "weights", "operator": method, "host": sources[0]}
    recipe |= {"donors": tuple(sources[1:])}
    recipe["operator_args"] = {**DEFAULT_ARGS.get(method, {}), **(method_args or {})}
    if known.base == "needed":
        recipe["base"] = base
    if method not in UNWEIGHTED_MERGES:
        recipe |= {"alpha": 1 - selection.weights[0], "donor_weights": selection.weights[1:]}
    return recipe


def combined(
    selection: Selection,
    models: Mapping[str, str],
    method: str,
    *,
    base: str | None = None,
    method_args: Mapping[str, Any] | None = None,
    prompts: Sequence[str] = (),
    device: str | None = None,
    dtype: str | None = None,
) -> tuple[Classifier | LabelVotes, tuple[str, ...]]:
    """What answers for the selected sources, and the notes of the merge; a single source is itself.

    device, dtype: of the classifier, or of each that votes; None: the CPU, and the files' own. Sources
    are merged as their files are, and the merge is then rounded.
    """
    check_method(method)
    if len(selection.names) == 1 or method in VOTES:
        classifiers = [
            load_classifier(models[name], device=device, dtype=dtype) for name in selection.names
        ]
        if len(classifiers) == 1:
            return classifiers[0], ()
        weights = None if method in UNWEIGHTED_METHODS else selection.weights
        return LabelVotes(classifiers, weights, method), ()
    recipe = merge_recipe(selection, models, method, base=base, method_args=method_args)
    data = tuple(prompts) if get_weight_method(method).statistics else None
    merged, notes = merged_classifier(recipe, prompts=data)
    if device is not None:
        merged.model.to(device)
    if dtype not in (None, "auto"):
        merged.model.to(torch_dtype(dtype))
    return merged, notes

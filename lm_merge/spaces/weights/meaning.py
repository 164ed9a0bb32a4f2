"""Whether tensors of the same shapes mean the same: configurations compared, labels put in order."""

import re
from collections.abc import Collection
from typing import Any

import torch

from lm_merge.models.model_class import class_name, resolved_config
from lm_merge.models.pair_config import Difference, accepted_differences, config_differences
from lm_merge.spaces.weights.checkpoint import Checkpoint
from lm_merge.spaces.weights.vocabulary import RowMap

LABEL_ROWS = re.compile(
    r"(^|\.)(score|classifier|logits_proj|out_proj)\.(weight|bias)$|^classifier\.\d+\.(weight|bias)$"
)
OF_NO_MEANING = {
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "vocab_size",
}


def meaning_notes(host: Checkpoint, model: Checkpoint, accept: Collection[str]) -> list[str]:
    """Notes on differences that are accepted; IncompatibleModels for any other one.

    Equal configurations are not resolved by their class, which would have to be imported.
    """
    found: list[Difference] = []
    if _meaningful(host.config) != _meaningful(model.config):
        found += config_differences(resolved_config(host.config), resolved_config(model.config))
    ours, theirs = labels(host), labels(model)
    if sorted(ours) != sorted(theirs):
        found.append(Difference("labels (id2label)", ours, theirs, tolerance="labels"))
    return accepted_differences(host.name, model.name, accept, found)


def labels(model: Checkpoint) -> list[str]:
    """Names of a classifier's labels in the order of its rows; none for another model."""
    if not str(class_name(model.config)).endswith("Classification"):
        return []
    named = model.config.get("id2label")
    if isinstance(named, dict):
        return [str(named[key]) for key in sorted(named, key=int)]
    return [f"LABEL_{number}" for number in range(int(model.config.get("num_labels", 2)))]


def label_rows(host: Checkpoint, model: Checkpoint) -> RowMap | None:
    """How a classifier's rows go into the order of the host's labels; None: as they are."""
    ours, theirs = labels(host), labels(model)
    if ours == theirs or sorted(ours) != sorted(theirs) or len(set(theirs)) < len(theirs):
        return None
    rows = torch.tensor([theirs.index(label) for label in ours])
    return RowMap(rows, f"{model.name}: rows of its labels are put in the order of {host.name}")


def is_label_tensor(model: Checkpoint, tensor: str) -> bool:
    """Whether a tensor has one row a label."""
    shape = model.entries[tensor].shape
    return bool(LABEL_ROWS.search(tensor)) and bool(shape) and shape[0] == len(labels(model))


def _meaningful(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in OF_NO_MEANING}

"""From a recipe of classifiers or encoders to what answers for them."""

import torch

from lm_merge.models.classifier import Classifier
from lm_merge.models.encoder import Encoder
from lm_merge.recipes import Recipe, as_source
from lm_merge.recipes.sources import Task
from lm_merge.spaces.label_votes import LabelVotes
from lm_merge.spaces.merged_classifier import merged_classifier, merged_encoder

NO_SENSE = {  # space -> why it merges no encoders
    "latents": "the streams of models that generate are merged while they read the same tokens from "
    "left to right",
    "adapters": "adapters are attached to a base that generates",
}


def task_of(recipe: Recipe) -> Task | None:
    """The task that a recipe's sources name. Raises ValueError where they name two."""
    sources = (recipe.host, *recipe.donors)
    tasks: list[Task | None] = [as_source(one).task for one in sources]
    named: set[Task] = {task for task in tasks if task is not None}
    if len(named) > 1:
        raise ValueError(
            f"task: the sources name {' and '.join(sorted(map(str, named)))}; give one"
        )
    return named.pop() if named else None


def compose_task(
    recipe: Recipe, task: Task, device: str | torch.device | None = None
) -> Classifier | Encoder | LabelVotes:
    """Classifiers merged or voting, or encoders merged.

    Raises ValueError that says why, for a space in which this makes no sense.
    """
    place = None if device is None else str(device)
    if recipe.space in NO_SENSE:
        raise ValueError(
            f"space={recipe.space!r} and task={task!r}: {NO_SENSE[recipe.space]}; for encoders and "
            "classifiers take space 'weights', for classifiers also 'logits' (votes)"
        )
    if recipe.space == "logits":
        if task == "encoding":
            raise ValueError(
                "space='logits' and task='encoding': a body without a head gives no labels to vote "
                "on; take space 'weights', or task 'classification'"
            )
        return LabelVotes.of_recipe(recipe, device=place)
    if task == "classification":
        found, _ = merged_classifier(recipe)
    else:
        found, _ = merged_encoder(recipe)
    if place is not None:
        found.model.to(place)
    return found

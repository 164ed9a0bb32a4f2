"""The same measures on encoders merged in space 'weights': a body reads texts and generates nothing.

Midness, arcs and CKA compare states of one block at one token, which encoders have, too. Divergences of
the next token do not exist for them, and their prompts are read without a chat template.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analyses.running.command_line import Tables, progress
from analyses.running.inputs import origin_of_source
from analyses.running.recipe_words import source_name
from analyses.running.text_choice import in_parts, prompts_of
from analyses.similarity.config import SimilarityConfig
from analyses.similarity.streams import MeanPaths, StreamComparison, merged_name
from lm_merge.models.encoder import Encoder, load_encoder
from lm_merge.models.encoder_states import block_states, encoder_blocks, padded_batch
from lm_merge.recipes import Recipe, as_source
from lm_merge.runs.record import Run
from lm_merge.scoring.compositions import NO_ONE_ALPHA
from lm_merge.spaces.compose_task import task_of
from lm_merge.spaces.merged_classifier import merged_encoder


def of_encoders(recipe: Recipe) -> bool:
    """Whether a recipe's models are classifiers or encoders. Raises ValueError outside of weights."""
    task = task_of(recipe)
    if task in (None, "generation"):
        return False
    if recipe.space != "weights":
        raise ValueError(
            f"space={recipe.space!r} and task={task!r}: only encoders merged in space 'weights' have "
            "a merged stream to compare; a vote has none, and other spaces merge models that generate"
        )
    return True


@dataclass(frozen=True)
class _Parents:
    host: Encoder
    donor: Encoder
    texts: Sequence[Sequence[str]]


def encoder_tables(config: SimilarityConfig, record: Run | None, *, quiet: bool = True) -> Tables:
    """Tables "similarity" and "paths" of a recipe of encoders and of what it is compared with."""
    recipe = config.recipe
    if config.dtype is not None:
        raise ValueError(
            f"dtype={config.dtype!r}: encoders are compared in their own; leave it out"
        )
    first = (as_source(one).model for one in (recipe.host, recipe.donors[0]))
    host, donor = (load_encoder(name, device=config.device) for name in first)
    parents = _Parents(host, donor, in_parts(prompts_of(config), config.batch_size))
    tables, notes = _measured(recipe, config, parents, quiet)
    similarity = [tables["similarity"]]
    for other in config.compared_recipes():
        of_encoders(other)  # refuses votes
        found, said = _measured(other, config, parents, quiet)
        similarity.append(found["similarity"])
        notes += said
    if record is not None:
        models = {source_name(one): origin_of_source(one) for one in recipe.sources}
        notes.append("encoders have no next token: no divergences of the output")
        record.update(
            device=str(host.model.device), models=models, notes=tuple(dict.fromkeys(notes))
        )
    return {**tables, "similarity": pd.concat(similarity, ignore_index=True)}


def _measured(
    recipe: Recipe, config: SimilarityConfig, parents: _Parents, quiet: bool
) -> tuple[Tables, list[str]]:
    own = NO_ONE_ALPHA if recipe.alpha is None else recipe.alpha
    alphas, notes = list(dict.fromkeys((own, *config.alphas))), list[str]()
    merged = dict[float, Encoder]()
    for alpha in alphas:
        varied = recipe if alpha is own else recipe.with_fields(alpha=alpha)
        merged[alpha], said = merged_encoder(varied)
        merged[alpha].model.to(parents.host.model.device)
        notes += said
    comparison = StreamComparison(len(encoder_blocks(parents.host)), tuple(alphas))
    paths = MeanPaths()
    title = f"similarity of encoders, {recipe.operator}"
    for texts in progress(parents.texts, title, quiet=quiet):
        batch = padded_batch(parents.host, texts)
        streams = {
            "host": block_states(parents.host, batch),
            "donor": block_states(parents.donor, batch),
        }
        streams |= {merged_name(alpha): block_states(one, batch) for alpha, one in merged.items()}
        tokens = batch["attention_mask"].bool().to(parents.host.model.device)
        comparison.update(streams, tokens)
        for name, states in streams.items():
            paths.update(name, states, tokens)
    table = pd.DataFrame(list(comparison.rows()))
    table = table.assign(operator=recipe.operator, space=recipe.space)
    return {"similarity": table, "paths": paths.table()}, notes

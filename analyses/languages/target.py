"""The cell of one target: its sources, merges and votes."""

import numpy as np
import pandas as pd
import torch

from analyses.languages.config import TargetCell
from analyses.running.command_line import Tables
from lm_merge.coefficients.selection import (
    Selection,
    SelectionRule,
    select,
    select_all,
    select_at_random,
)
from lm_merge.coefficients.similarity_matrix import read_similarity
from lm_merge.evaluation.massive import LabelledTexts, read_massive
from lm_merge.evaluation.selected_sources import VOTES, combined
from lm_merge.evaluation.transfer import accuracy_row, right_answers
from lm_merge.models.classifier import load_classifier
from lm_merge.operators.distributions import UNWEIGHTED_METHODS
from lm_merge.runs.record import Run
from lm_merge.spaces.label_votes import LabelVotes

CHOSEN = "top5_cosine"  # its sources vote; the other systems are compared with it
Place = tuple[str, int | None]  # system, seed of a random choice


def measure_target(cell: TargetCell, record: Run) -> Tables:
    """Tables "accuracy" and "sources" of one target."""
    torch.set_num_threads(1)
    test = read_massive(cell.data, (cell.target,), "test")[cell.target].drawn(0, cell.n_examples)
    rows: list[dict[str, object]] = []
    chosen = selections(cell)
    for place, selection in chosen.items():
        merged, _ = combined(selection, cell.models, "linear")
        rows.append(_row(cell, place, right_answers(merged, test)))
    rows += votes(cell, chosen[CHOSEN, None], test)
    record.update(device="cpu", seeds=tuple(range(cell.n_draws)))
    accuracy = pd.DataFrame(rows).astype({"seed": "Int64"})
    return {"accuracy": accuracy, "sources": pd.DataFrame(chosen[CHOSEN, None].rows())}


def selections(cell: TargetCell) -> dict[Place, Selection]:
    """The sources of every system that merges them by their weighted mean."""
    names, target, n = list(cell.models), cell.target, cell.n_sources
    cosine = read_similarity(cell.similarity).among(names)
    top = select(cosine, target, names, SelectionRule(n))
    balanced = SelectionRule(n, normalizer="sinkhorn", row_top_k=cell.sinkhorn_top_k)
    found: dict[Place, Selection] = {
        ("top5_uniform", None): top.equal(),
        (CHOSEN, None): top,
        ("top5_softmax", None): select(
            cosine, target, names, SelectionRule(n, normalizer="softmax")
        ),
        ("top5_sinkhorn", None): select(cosine, target, names, balanced),
        ("transfer5", None): select(
            read_similarity(cell.transfer), target, names, SelectionRule(n)
        ),
        ("top5_without_first", None): select(cosine, target, top.names[1:], SelectionRule(n - 1)),
        ("all_but_target", None): select_all(target, names),
        ("nearest", None): select(cosine, target, names, SelectionRule(1)),
    }
    for seed in range(cell.n_draws):  # equal weights: only the choice differs from top5_uniform
        found["random5", seed] = select_at_random(target, names, seed, SelectionRule(n)).equal()
    return found


def votes(cell: TargetCell, selection: Selection, texts: LabelledTexts) -> list[dict[str, object]]:
    """Accuracy of the chosen sources' votes; each source reads the texts once for all of them."""
    classifiers = [load_classifier(cell.models[name]) for name in selection.names]
    logits = LabelVotes(classifiers).votes(texts.texts)
    rows: list[dict[str, object]] = []
    for method in VOTES:
        weights = None if method in UNWEIGHTED_METHODS else selection.weights
        vote = LabelVotes(classifiers, weights, method)
        found = vote.combined(logits).argmax(-1).tolist()
        right = np.array([vote.labels[place] for place in found]) == np.array(texts.labels)
        rows.append(_row(cell, (f"votes_{method}", None), right))
    return rows


def _row(cell: TargetCell, place: Place, right: np.ndarray) -> dict[str, object]:
    system, seed = place
    named: dict[str, object] = {
        "system": system,
        "target": cell.target,
        "seed": seed,
        "partition": "test",
    }
    return {**named, **accuracy_row(right)}

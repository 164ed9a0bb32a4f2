"""The page of the report: what it says, section by section, of tables and figures that are there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from analyses.curvature import analysis as curvature
from analyses.report.config import ReportConfig
from analyses.running.command_line import Figure, Tables
from analyses.running.recipe_words import source_name
from analyses.similarity import analysis as similarity
from figures import Section, render_page
from lm_merge.runs.record import read_record

INTRODUCTION = (
    "Host {host} takes in the residual stream of {donors} at block {layers} ({operator}), in every "
    "forward pass. No weight is changed and no data is used: with the hooks off, the host is as before. "
    "alpha is the donors' weight: 0 is the host, 1 the donor."
)
ANSWERS_TEXT = (
    "The same prompts, answered greedily by both parents and by the merge. The answer counts if all "
    "after the last </think> equals the right one exactly."
)
ACCURACY_TEXT = (
    "Held-out questions with one right answer each: facts by unseen phrasing, orderings, sums and "
    "two-step programs by unseen content. Bars are 95 % Wilson intervals."
)
SPACES_TEXT = (
    "The same questions asked of the pair merged in the residual stream (latents), in its parameters "
    "(weights) and in its next-token distributions (logits), at the recipe's alpha. Trio: the reasoning "
    "model and the coder by their differences from their ancestor, the host: task_arithmetic with "
    "half of each, ties with the larger half of each where they agree in sign. Bars are 95 % Wilson "
    "intervals; colour is the operator, shape the space."
)
SIMILARITY_TEXT = (
    "Both parents and the merge read the same prompts. Midness is the cosine of the merged stream with "
    "the midpoint of the arc from host to donor; the arc ratio is the share of that arc travelled; CKA "
    "compares whole sets of token states. Before the merged block the stream is the host's own."
)
ARC_TEXT = (
    "The same arc ratio by alpha, one line a block. On the dashed line a merge goes along the arc by "
    "alpha itself. Blocks before the merged one hold the host's own stream and lie on zero together; "
    "behind it, the host's blocks draw the stream back."
)
OTHER_SPACES_TEXT = (
    "The same prompts read by merges of the whole models: in weights, which have a stream of their own, "
    "and in logits, where every model keeps its own stream and only the next-token distributions are "
    "merged. The second figure places each output between its parents, in nats."
)
PATHS_TEXT = (
    "Mean residual stream over all tokens, block by block, in the plane that holds most of it."
)
GRID_TEXT = (
    "Merges at one block each (every fifth, the last, and the one merged above), on questions with "
    "their right answers: the loss of the answer's tokens, in nats. The best cell of each operator is "
    "marked. With one donor regmean is lerp."
)
SIGNALS_TEXT = (
    "Signals taken from other prompts, without answers and without generation, ranked against what the "
    "merges then did: Spearman's rank correlation over all of them. distance: |m - h|^2 / |h|^2 of "
    "merged and host's stream; arc_rad: the angle between them; head_mismatch: KL(donor || what the "
    "host's later blocks and head make of the donor's stream); kl_prompt: KL(merge || host) on the "
    "prompts; bound: the most that KL(host || merge) can be for lerp, by its curvature along the way, "
    "and chord the straight part of it. layer and alpha are listed for comparison."
)
CURVATURE_TEXT = (
    "How far the loss of a merged token can rise above the line between host and donor, and does. K_g "
    "is the largest negative curvature of the loss along the way, so only a loss that bends downwards "
    "costs anything; the bound holds token by token."
)


def other_space_sections(drawn: Mapping[str, go.Figure]) -> list[Section]:
    """The merge next to merges in other spaces, where there are such."""
    if "similarity_by_space" not in drawn:
        return []
    by_space, output = drawn["similarity_by_space"], drawn["output_divergence_by_space"]
    return [
        Section("Compared with merges in other spaces", OTHER_SPACES_TEXT, by_space),
        Section("", "", output),
    ]


def curvature_tables(tables: Tables) -> Tables:
    """The curvature analysis's tables by their own names."""
    named = {key.removeprefix("curvature_"): table for key, table in tables.items()}
    return {key: named[key] for key in ("curvature", "correlations", "tokens", "strip")}


def page(tables: Tables, config: ReportConfig, figures: Sequence[Figure], folder: Path) -> str:
    """The report as one HTML page that needs no network; folder: of the run's record."""
    drawn = {name: figure for name, figure, _ in figures}
    introduction = INTRODUCTION.format(
        host=source_name(config.recipe.host),
        donors=", ".join(map(source_name, config.recipe.donors)),
        layers=", ".join(str(layer) for layer in config.recipe.layers or ()),
        operator=config.recipe.operator,
    )
    sections = [
        Section("What each of them answers", ANSWERS_TEXT, None, tables["answers"]),
        Section(
            "What each of them knows",
            ACCURACY_TEXT,
            drawn["accuracy_by_category"],
            tables["accuracy"],
        ),
        Section(
            "The same pair in every space",
            SPACES_TEXT,
            drawn["accuracy_by_space"],
            tables["spaces"],
        ),
        Section(
            "Where the merged stream lies",
            SIMILARITY_TEXT,
            drawn["similarity_by_layer"],
            similarity.of_first_merge(tables["similarity"]),
        ),
        Section("How far along the arc", ARC_TEXT, drawn["arc_ratio_by_alpha"], None),
        *other_space_sections(drawn),
        Section("The way through the blocks", PATHS_TEXT, drawn["residual_paths"], tables["paths"]),
        Section("Which block, how much of the donor", GRID_TEXT, drawn["layerwise_loss_answer"]),
        Section("", "", drawn["layerwise_kl_host_lines"]),
        Section("Known beforehand?", SIGNALS_TEXT, drawn["signal_ranks"], tables["signal_ranks"]),
        Section(
            "Why: curvature on the way from host to donor",
            f"{CURVATURE_TEXT}\n\n{_sentence(curvature.summary(curvature_tables(tables)))}",
            drawn["curvature_by_layer"],
        ),
        Section("", "", drawn["gap_and_bound"]),
        Section("", "", drawn["tightness"]),
        Section("", "", drawn["curvature_by_token"]),
        Section("This run", run_text(folder)),
    ]
    return render_page("Two models in one residual stream", introduction, sections)


def run_text(folder: Path) -> str:
    """What ran, when, by which version, and what was noted of the pair."""
    record = read_record(folder)
    versions = ", ".join(
        f"{name} {version}" for name, version in record.versions.items() if version
    )
    notes = "; ".join(record.notes) or "none"
    return (
        f"Started {record.started:%Y-%m-%d %H:%M} UTC, configuration {record.config_hash}, commit "
        f"{record.commit or 'unknown'}; {versions}.\n\nNotes on the pair: {notes}.\n\nTables (Parquet), "
        f"figures and record.json lie in {folder}."
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."

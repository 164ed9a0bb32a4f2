"""What `python -m analyses.languages` computes, draws and reports."""

from pathlib import Path
from typing import Any

import pandas as pd

from analyses.languages.config import (
    SIMILARITY,
    ClassifierCell,
    EncoderCell,
    LanguagesConfig,
    TargetCell,
)
from analyses.languages.tables import correlations, similarity_pairs, singles
from analyses.languages.target import CHOSEN, measure_target
from analyses.languages.training import MODEL, train_classifier, train_encoder
from analyses.running.cells import finished_cells
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from analyses.running.massive_options import UTTERANCES
from analyses.transfer_matrix.analysis import SQUARE
from analyses.transfer_matrix.analysis import run as run_transfer
from analyses.transfer_matrix.config import TransferMatrixConfig
from figures.gains_by_target import plot_gains_by_target
from figures.similarity_against_transfer import plot_similarity_against_transfer
from figures.transfer_heatmap import plot_transfer_heatmap
from figures.weights_by_source import plot_weights_by_source
from lm_merge.coefficients.similarity_matrix import read_similarity
from lm_merge.evaluation.transfer import by_system, contrasts, summary_rows
from lm_merge.runs.executors import Executor
from lm_merge.runs.identity import fingerprint
from lm_merge.runs.record import Run

SYSTEMS = (
    "own",
    "single_mean",
    "random5",
    "top5_uniform",
    CHOSEN,
    "top5_softmax",
    "top5_sinkhorn",
    "transfer5",
    "votes_majority",
    "votes_weighted_majority",
    "votes_soft",
    "votes_mean",
    "best_source_oracle",
)


def run(
    config: LanguagesConfig,
    record: Run,
    *,
    quiet: bool = True,
    executor: Executor | None = None,
) -> Tables:
    """All tables of the study; each model, source and target is a cell that is found when it is done."""
    root, data = record.folder.parent, config.file(UTTERANCES).parent
    models = trained_models(config, root, executor, quiet)
    measured = TransferMatrixConfig(data=data, sources=models, n_examples=config.n_examples)
    transfer = run_transfer(measured, record, quiet=quiet, executor=executor)["transfer"]
    cells = target_cells(config, models, kept_matrix(record.folder / SQUARE, root))
    folders = finished_cells(
        "languages_target", cells, measure_target, root, executor=executor, quiet=quiet
    )
    accuracy, sources = (
        pd.concat([pd.read_parquet(one / f"{name}.parquet") for one in folders.values()])
        for name in ("accuracy", "sources")
    )
    accuracy = pd.concat([accuracy, singles(transfer)], ignore_index=True)
    record.update(device="cpu", seeds=(config.pretraining.seed, config.tuning.seed))
    test = pd.DataFrame(accuracy[accuracy.partition == "test"])
    pairs = similarity_pairs(read_similarity(config.file(SIMILARITY)), transfer)
    return {
        "transfer": transfer,
        "accuracy": accuracy,
        "sources": sources.reset_index(drop=True),
        "systems": pd.DataFrame(summary_rows(test, CHOSEN, SYSTEMS)),
        "contrasts": contrasts(test, CHOSEN),
        "similarity_and_transfer": pairs,
        "correlations": correlations(pairs),
    }


def trained_models(
    config: LanguagesConfig, root: Path, executor: Executor | None, quiet: bool
) -> dict[str, str]:
    """Locale -> folder of its classifier."""
    data = config.file(UTTERANCES).parent
    first = EncoderCell(
        data=data,
        digests=config.inputs,
        locales=config.locales,
        n_parallel=config.n_parallel,
        settings=config.pretraining,
    )
    encoder = finished_cells(
        "languages_encoder", {"encoder": first}, train_encoder, root, quiet=quiet
    )["encoder"]
    digest = fingerprint(encoder / MODEL)
    cells = {
        locale: ClassifierCell(
            data=data,
            digests=config.inputs,
            locale=locale,
            encoder=encoder / MODEL,
            encoder_digest=digest,
            n_parallel=config.n_parallel,
            n_tuning=config.n_tuning,
            settings=config.tuning,
        )
        for locale in config.locales
    }
    folders = finished_cells(
        "languages_classifier", cells, train_classifier, root, executor=executor, quiet=quiet
    )
    return {locale: str(folder / MODEL) for locale, folder in folders.items()}


def kept_matrix(square: Path, root: Path) -> Path:
    """A copy of measured transfer under a name by its content, the same for a run that goes on."""
    kept = root / f"{fingerprint(square)}-{SQUARE}"
    kept.write_bytes(square.read_bytes())
    return kept


def target_cells(
    config: LanguagesConfig, models: dict[str, str], transfer: Path
) -> dict[str, TargetCell]:
    """The cell of every target."""
    digests = {name: fingerprint(Path(model)) for name, model in models.items()}
    return {
        target: TargetCell(
            data=config.file(UTTERANCES).parent,
            digests=config.inputs,
            target=target,
            models=models,
            model_digests=digests,
            similarity=config.file(SIMILARITY),
            transfer=transfer,
            transfer_digest=fingerprint(transfer),
            n_examples=config.n_examples,
            n_sources=config.n_sources,
            sinkhorn_top_k=config.sinkhorn_top_k,
            n_draws=config.n_draws,
        )
        for target in config.locales
    }


def draw(tables: Tables, config: LanguagesConfig) -> list[Figure]:
    """The study's figures, each with the table it draws."""
    transfer, sources, accuracy = tables["transfer"], tables["sources"], tables["accuracy"]
    test = pd.DataFrame(transfer[transfer.partition == "test"])
    wide = by_system(pd.DataFrame(accuracy[accuracy.partition == "test"])).reset_index()
    gains = wide.melt("target", var_name="system", value_name="accuracy_frac")
    pairs, found = tables["similarity_and_transfer"], tables["correlations"]
    scatter = plot_similarity_against_transfer(pairs, found)
    return [
        ("transfer_heatmap", plot_transfer_heatmap(test), test),
        ("gains_by_target", plot_gains_by_target(gains, CHOSEN), gains),
        ("similarity_against_transfer", scatter, pairs),
        ("weights_by_source", plot_weights_by_source(sources), sources),
    ]


def findings(tables: Tables, config: LanguagesConfig) -> list[Finding]:
    """Rows of `summary.json`, one a system.

    Keys: system, mean_accuracy, low, high (95 %, over targets), n_targets, wins, p_holm (both
    against top5_cosine).
    """
    rows = tables["systems"].astype(object).to_dict("records")
    return [{str(key): _plain(str(key), value) for key, value in row.items()} for row in rows]


def _plain(key: str, value: Any) -> object:
    """None for what is not defined, counts as whole numbers."""
    if pd.isna(value):
        return None
    return int(value) if key in ("wins", "n_targets") else value


def summary(tables: Tables, config: LanguagesConfig) -> str:
    """Mean accuracy of every system, and how well similarity ranks sources."""
    lines = [
        f"  {row['system']}: {100 * row['mean_accuracy']:.1f} % [{100 * row['low']:.1f}, "
        f"{100 * row['high']:.1f}]"
        for row in tables["systems"].to_dict("records")
    ]
    mean = tables["correlations"].iloc[-1]
    return "\n".join(
        [
            f"mean test accuracy over {len(config.locales)} targets:",
            *lines,
            f"Spearman's correlation of similarity and transfer: {mean.spearman:.2f} "
            f"[{mean.low:.2f}, {mean.high:.2f}] (mean over targets)",
        ]
    )

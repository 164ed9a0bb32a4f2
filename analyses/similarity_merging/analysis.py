"""What `python -m analyses.similarity_merging` measures, draws and reports."""

import pandas as pd

from analyses.running.command_line import Figure, Tables, progress
from analyses.running.findings import Finding
from analyses.similarity_merging.config import SimilarityMergingConfig
from figures.weights_by_source import plot_weights_by_source
from lm_merge.coefficients.selection import Selection
from lm_merge.evaluation.massive import LabelledTexts, read_massive
from lm_merge.evaluation.selected_sources import VOTES, check_method, combined
from lm_merge.evaluation.transfer import Predictor, accuracy_row, right_answers
from lm_merge.models.classifier import load_classifier
from lm_merge.runs.record import Run

PARTITIONS = ("dev", "test")
KEYS = ("target", "weights", "method", "system", "kind", "seed")


def run(config: SimilarityMergingConfig, record: Run, *, quiet: bool = True) -> Tables:
    """Tables "sources" and "accuracy" of one target."""
    check_method(config.method)
    selections = config.selections()
    texts = {
        partition: read_massive(config.data, (config.target,), partition)[config.target].drawn(
            0, config.n_examples
        )
        for partition in PARTITIONS
    }
    record.update(device=config.device or "cpu", models=dict(config.inputs), seeds=config.seeds)
    rows, notes = list[dict[str, object]](), list[str]()
    for seed, selection in progress(list(selections.items()), config.words, quiet=quiet):
        model, own_notes = combined(
            selection,
            config.models,
            config.method,
            base=config.base,
            method_args=config.method_args,
            prompts=config.statistics_texts(
                config.method, config.data, config.target, selection.names, config.seeds[0]
            ),
            device=config.device,
            dtype=config.dtype,
        )
        notes += own_notes
        kind = "vote" if config.method in VOTES else "merge"
        rows += _rows(config, model, texts, config.weights, kind, seed)
    if config.baselines:
        rows += _baselines(config, next(iter(selections.values())), texts)
    if config.include_target:
        notes.append(f"the own model of {config.target} takes part")
    record.update(notes=tuple(dict.fromkeys(notes)))
    sources = [{"seed": seed, **row} for seed, one in selections.items() for row in one.rows()]
    return {"sources": pd.DataFrame(sources), "accuracy": pd.DataFrame(rows)}


def _rows(
    config: SimilarityMergingConfig,
    model: Predictor,
    texts: dict[str, LabelledTexts],
    system: str,
    kind: str,
    seed: int | None,
) -> list[dict[str, object]]:
    place = {
        "target": config.target,
        "weights": config.weights,
        "method": config.method,
        "system": system,
        "kind": kind,
        "seed": seed,
    }
    return [
        {
            **place,
            "partition": partition,
            **accuracy_row(right_answers(model, own, max_length=config.max_length)),
        }
        for partition, own in texts.items()
    ]


def _baselines(
    config: SimilarityMergingConfig, selection: Selection, texts: dict[str, LabelledTexts]
) -> list[dict[str, object]]:
    """The own model, each chosen source, and the best of them by test (oracle) and by dev."""
    found: list[dict[str, object]] = []
    own = [config.target] if config.target in config.models else []
    for name in [*own, *(name for name in selection.names if name != config.target)]:
        model = load_classifier(config.models[name], device=config.device, dtype=config.dtype)
        system = "own" if name == config.target else f"source {name}"
        found += _rows(config, model, texts, system, "single", None)
    singles = pd.DataFrame([row for row in found if row["system"] != "own"])
    for partition, system in (("test", "best_source_test"), ("dev", "best_source_dev")):
        if len(singles):
            by = singles[singles.partition == partition]
            best = by.loc[by.accuracy_frac.idxmax(), "system"]
            kind = "oracle" if partition == "test" else "single"
            found += [
                {**row, "system": system, "kind": kind} for row in found if row["system"] == best
            ]
    return found


def draw(tables: Tables, config: SimilarityMergingConfig) -> list[Figure]:
    """Weights of the chosen sources."""
    sources = tables["sources"]
    first = sources[sources.seed.isna()] if sources.seed.isna().any() else sources
    one = first[first.seed == first.seed.iloc[0]] if not first.seed.isna().any() else first
    one = pd.DataFrame(one)
    return [("weights_by_source", plot_weights_by_source(one), one)]


def findings(tables: Tables, config: SimilarityMergingConfig) -> list[Finding]:
    """Rows of `summary.json`, every system on the test texts.

    Keys: target, weights, method, system, kind, seed, accuracy_frac, low, high (95 %), n.
    """
    accuracy = tables["accuracy"]
    test = accuracy[accuracy.partition == "test"]
    columns = [*KEYS, "accuracy_frac", "low", "high", "n"]
    return [
        {key: None if value is None or value != value else value for key, value in row.items()}
        for row in pd.DataFrame(test[columns]).astype(object).to_dict("records")
    ]


def summary(tables: Tables, config: SimilarityMergingConfig) -> str:
    """Test accuracy of the result, next to the own model and the best source."""
    accuracy = tables["accuracy"]
    test = accuracy[accuracy.partition == "test"].groupby("system", sort=False).accuracy_frac.mean()
    sources = tables["sources"]
    chosen = ", ".join(
        f"{row['source']} {row['weight']:.2f}"
        for row in sources.head(config.n_sources).to_dict("records")
    )
    values = ", ".join(f"{system} {value:.3f}" for system, value in test.items())
    return f"{config.words}: {chosen}\ntest accuracy: {values}"

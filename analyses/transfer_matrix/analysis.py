"""What `python -m analyses.transfer_matrix` measures, draws and reports."""

import json

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from analyses.running.cells import finished_cells
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from analyses.running.massive_options import LABELS, UTTERANCES
from analyses.transfer_matrix.config import SourceConfig, TransferMatrixConfig
from figures.transfer_heatmap import plot_transfer_heatmap
from lm_merge.coefficients.similarity_matrix import SimilarityMatrix, write_similarity
from lm_merge.evaluation.massive import read_massive
from lm_merge.evaluation.transfer import accuracy_row
from lm_merge.models.classifier import load_classifier
from lm_merge.runs.executors import Executor
from lm_merge.runs.record import Run
from lm_merge.statistics.bootstrap import bca_interval

MEASURED = ("dev", "test")
SQUARE = "similarity_from_transfer.csv"


def run(
    config: TransferMatrixConfig,
    record: Run,
    *,
    quiet: bool = True,
    executor: Executor | None = None,
) -> Tables:
    """Table "transfer"; each source is a cell, found where it is finished already."""
    cells = source_configs(config)
    folders = finished_cells(
        "transfer_source",
        cells,
        measure_source,
        record.folder.parent,
        executor=executor,
        quiet=quiet,
    )
    record.update(device=config.device or "cpu", models=dict(config.inputs))
    transfer = pd.concat(
        [pd.read_parquet(folders[source] / "transfer.parquet") for source in cells],
        ignore_index=True,
    )
    square = similarity_from_transfer(transfer)
    if square is not None:
        record.add_file(write_similarity(square, record.folder / SQUARE))
    return {"transfer": transfer}


def source_configs(config: TransferMatrixConfig) -> dict[str, SourceConfig]:
    """The cell of every source, by its locale."""
    models, inputs = config.models, config.inputs
    data = (inputs[str(config.data / UTTERANCES)], inputs[str(config.data / LABELS)])
    return {
        source: SourceConfig(
            source=source,
            model=model,
            model_digest=inputs[model],
            data=config.data,
            data_digests=data,
            targets=tuple(config.targets or models),
            n_examples=config.n_examples,
            max_length=config.max_length,
            device=config.device,
            dtype=config.dtype,
        )
        for source, model in models.items()
    }


def measure_source(config: SourceConfig, record: Run) -> Tables:
    """Table "transfer" of one classifier, and its predicted labels with the texts' ids.

    `predicted.safetensors` has, for every target and partition, the place of the predicted label in the
    list of labels that its metadata holds.
    """
    model = load_classifier(config.model, device=config.device, dtype=config.dtype)
    rows, kept = [], {}
    for partition in MEASURED:
        texts = read_massive(config.data, config.targets, partition)
        for target in config.targets:
            own = texts[target].drawn(0, config.n_examples)
            unknown = sorted(set(own.labels) - set(model.labels))
            if unknown:
                raise ValueError(f"label {unknown[0]!r} of {target} is none of {model.name!r}'s")
            found = model.logits(own.texts, max_length=config.max_length).argmax(-1)
            right = np.array([model.labels[i] for i in found]) == np.array(own.labels)
            place = {"source": config.source, "target": target, "partition": partition}
            rows.append(place | accuracy_row(right))
            kept[f"{target}/{partition}"] = found.to(torch.int16)
            kept[f"{target}/{partition}/ids"] = torch.tensor(own.ids)
    path = record.folder / "predicted.safetensors"
    save_file(kept, path, metadata={"labels": json.dumps(model.labels)})
    record.add_file(path)
    return {"transfer": pd.DataFrame(rows)}


def similarity_from_transfer(transfer: pd.DataFrame) -> SimilarityMatrix | None:
    """Dev accuracies, row = target, column = source; None where targets and sources differ."""
    dev = transfer[transfer.partition == "dev"]
    wide = dev.pivot(index="target", columns="source", values="accuracy_frac")
    names = list(dict.fromkeys(transfer.source))
    if set(names) != set(wide.index):
        return None
    return SimilarityMatrix(tuple(names), wide.loc[names, names].to_numpy(dtype=float))


def draw(tables: Tables, config: TransferMatrixConfig) -> list[Figure]:
    """The matrix of test accuracies."""
    transfer = tables["transfer"]
    test = pd.DataFrame(transfer[transfer.partition == "test"])
    return [("transfer_heatmap", plot_transfer_heatmap(test), test)]


def findings(tables: Tables, config: TransferMatrixConfig) -> list[Finding]:
    """Rows of `summary.json`, one a source.

    Keys: source, own_accuracy, mean_elsewhere, low, high (95 %, over targets), best_target, n_targets.
    """
    transfer = tables["transfer"]
    test = pd.DataFrame(transfer[transfer.partition == "test"])
    rows: list[Finding] = []
    for source, own in test.groupby("source", sort=False):
        alone = pd.DataFrame(own[own.target == source]).accuracy_frac
        others = pd.DataFrame(own[own.target != source])
        values = others.accuracy_frac.to_numpy(dtype=float)
        low, high = bca_interval(values)
        rows.append(
            {
                "source": source,
                "own_accuracy": float(alone.iloc[0]) if len(alone) else None,
                "mean_elsewhere": float(values.mean()) if len(values) else None,
                "low": low,
                "high": high,
                "best_target": str(others.target.iloc[int(values.argmax())])
                if len(values)
                else None,
                "n_targets": len(values),
            }
        )
    return rows


def summary(tables: Tables, config: TransferMatrixConfig) -> str:
    """Mean accuracy at home and elsewhere."""
    transfer = tables["transfer"]
    test = pd.DataFrame(transfer[transfer.partition == "test"])
    own = pd.DataFrame(test[test.source == test.target]).accuracy_frac
    others = pd.DataFrame(test[test.source != test.target]).accuracy_frac
    return (
        f"{test.source.nunique()} classifiers: mean test accuracy {own.mean():.3f} on their own "
        f"language (n = {len(own)}), {others.mean():.3f} on others (n = {len(others)} cells)"
    )

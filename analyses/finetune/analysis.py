"""What `python -m analyses.finetune` does and reports."""

import sys
from typing import Any

import pandas as pd
from transformers import TrainerCallback

from analyses.finetune.config import FinetuneConfig
from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from lm_merge.evaluation.massive import PARTITIONS, intent_names, read_massive
from lm_merge.evaluation.transfer import accuracy_row, right_answers
from lm_merge.models.classifier import load_classifier
from lm_merge.runs.record import Run
from lm_merge.training.finetune import fine_tune
from lm_merge.training.settings import FinetuneSettings


def run(config: FinetuneConfig, record: Run, *, quiet: bool = True) -> Tables:
    """Train, write the folder, measure dev and test."""
    train, dev, test = (
        read_massive(config.data, (config.locale,), name)[config.locale].drawn(0, config.n_examples)
        for name in PARTITIONS
    )
    settings = FinetuneSettings(
        **{name: getattr(config, name) for name in FinetuneSettings.model_fields}
    )
    folder, history, notes = fine_tune(
        config.base,
        train,
        dev,
        intent_names(config.data),
        settings,
        config.folder,
        device=config.device,
        callbacks=[] if quiet else [_EpochLines()],
    )
    record.add_file(folder)
    record.update(
        device=config.device or "cpu",
        models={config.base: config.inputs[config.base]},
        seeds=(config.seed,),
        notes=notes,
    )
    model = load_classifier(folder, device=config.device)
    rows = []
    for partition, texts in (("dev", dev), ("test", test)):
        right = right_answers(model, texts, max_length=config.max_length)
        rows.append({"locale": config.locale, "partition": partition, **accuracy_row(right)})
    return {"epochs": epochs(history), "accuracy": pd.DataFrame(rows)}


class _EpochLines(TrainerCallback):
    """One line an epoch on standard error."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """What the Trainer logs."""
        shown = {key: value for key, value in (logs or {}).items() if "runtime" not in key}
        sys.stderr.write(f"epoch {state.epoch:.2f} of {args.num_train_epochs:g}: {shown}\n")


def epochs(history: list[dict[str, Any]]) -> pd.DataFrame:
    """Columns epoch, loss, dev_accuracy, learning_rate of what the Trainer logged."""
    rows: dict[float, dict[str, float]] = {}
    names = {
        "loss": "loss",
        "eval_accuracy": "dev_accuracy",
        "learning_rate": "learning_rate",
    }
    for entry in history:
        own = rows.setdefault(entry["epoch"], {"epoch": entry["epoch"]})
        own |= {names[key]: value for key, value in entry.items() if key in names}
    return pd.DataFrame(list(rows.values()), columns=["epoch", *names.values()])


def draw(tables: Tables, config: FinetuneConfig) -> list[Figure]:
    """No figure: one short table."""
    return []


def findings(tables: Tables, config: FinetuneConfig) -> list[Finding]:
    """Rows of `summary.json`, those of table "accuracy".

    Keys: locale, partition, accuracy_frac, low, high (95 %), n.
    """
    return [
        {str(key): value for key, value in row.items()}
        for row in tables["accuracy"].to_dict("records")
    ]


def summary(tables: Tables, config: FinetuneConfig) -> str:
    """Dev and test accuracy, and the folder."""
    rows = tables["accuracy"].to_dict("records")
    values = ", ".join(f"{row['partition']} {row['accuracy_frac']:.3f}" for row in rows)
    return f"{config.locale}: accuracy {values}; classifier: {config.folder}"

"""Fine-tuning a classifier of one language with transformers' Trainer."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from lm_merge.evaluation.massive import LabelledTexts
from lm_merge.models.completeness import check_complete
from lm_merge.models.tokenizer_files import VOCABULARY_FILES
from lm_merge.training.memory import check_free_disk, with_smaller_batches
from lm_merge.training.settings import FinetuneSettings
from lm_merge.zoo.ngram_classifier import register

HEADS = ("classifier.", "score.")  # tensors that a base lacks: they begin at random
STATES = 4  # weights, gradients' running means (two) and the output, each as large as the weights
MASTER_BYTES = 4  # a value of float32


def fine_tune(
    base: str,
    train: LabelledTexts,
    dev: LabelledTexts,
    labels: Sequence[str],
    settings: FinetuneSettings,
    out: Path,
    *,
    device: str | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[Path, list[dict[str, Any]], tuple[str, ...]]:
    """Write a classifier of `labels` to `out`; its folder, what was logged, and notes.

    An interrupted training goes on from its last epoch, in a folder next to `out`. The folder `out`
    appears when it is whole. Raises FileExistsError where `out` is there, OSError for too little free
    disk, ValueError where the base lacks more than a head.
    """
    if out.exists():
        raise FileExistsError(f"out={str(out)!r} is there already; remove it, or pass another name")
    work = out.with_name(f".{out.name}-work")
    set_seed(settings.seed)
    model, tokenizer = with_new_head(base, labels)
    if tokenizer is None:
        raise ValueError(f"base={base!r} has no tokenizer files; give a base with its tokenizer")
    n_values = sum(parameter.numel() for parameter in model.parameters())
    check_free_disk(out, 2 * STATES * MASTER_BYTES * n_values, "fine-tuning")  # two checkpoints

    def attempt(batch: int, accumulation: int) -> list[dict[str, Any]]:
        set_seed(settings.seed)
        fresh, _ = with_new_head(base, labels)  # after a failed attempt nothing is half trained
        trainer = Trainer(
            model=fresh,
            args=_arguments(settings, work, batch, accumulation, device),
            train_dataset=_Encoded(train, tokenizer, labels, settings.max_length),
            eval_dataset=_Encoded(dev, tokenizer, labels, settings.max_length),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=_accuracy,
            callbacks=[*callbacks, *_stopping(settings)],
        )
        last = get_last_checkpoint(str(work)) if work.is_dir() else None
        trainer.train(resume_from_checkpoint=last)
        draft = work / "finished"
        trainer.save_model(str(draft))
        tokenizer.save_pretrained(draft)
        return list(trainer.state.log_history)

    history, notes = with_smaller_batches(attempt, settings.batch, settings.accumulation)
    os.replace(work / "finished", out)
    shutil.rmtree(work)
    return out, history, notes


def with_new_head(base: str, labels: Sequence[str]) -> tuple[Any, PreTrainedTokenizerBase | None]:
    """A classifier of the labels that starts from a base, with a random head; and its tokenizer.

    The tokenizer is None where the base is a folder without one.

    Raises ValueError where the base lacks more than a head.
    """
    register()
    reader: Any = AutoModelForSequenceClassification
    model, account = reader.from_pretrained(
        base,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        output_loading_info=True,
    )
    missing = [key for key in account["missing_keys"] if not key.startswith(HEADS)]
    check_complete(
        {**account, "missing_keys": missing, "unexpected_keys": []}, base, type(model).__name__
    )
    folder = Path(base)
    has_words = any((folder / name).is_file() for name in VOCABULARY_FILES)
    return model, AutoTokenizer.from_pretrained(base) if has_words or not folder.is_dir() else None


def _arguments(
    settings: FinetuneSettings, work: Path, batch: int, accumulation: int, device: str | None
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup,
        fp16=settings.precision == "float16",
        bf16=settings.precision == "bfloat16",
        use_cpu=device in (None, "cpu"),
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=settings.patience is not None,
        metric_for_best_model="accuracy",
        seed=settings.seed,
        data_seed=settings.seed,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _stopping(settings: FinetuneSettings) -> list[TrainerCallback]:
    if settings.patience is None:
        return []
    return [EarlyStoppingCallback(early_stopping_patience=settings.patience)]


def _accuracy(predicted: Any) -> dict[str, float]:
    logits, truth = predicted
    return {"accuracy": float((np.argmax(logits, axis=-1) == truth).mean())}


class _Encoded(Dataset):
    """Token ids and the number of the label of every text."""

    def __init__(
        self,
        texts: LabelledTexts,
        tokenizer: PreTrainedTokenizerBase,
        labels: Sequence[str],
        max_length: int,
    ) -> None:
        encoded: Any = tokenizer(list(texts.texts), truncation=True, max_length=max_length)
        self.ids = encoded["input_ids"]
        self.labels = [list(labels).index(label) for label in texts.labels]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.ids[index], "labels": self.labels[index]}

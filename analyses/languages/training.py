"""Cells that train: the encoder, and one classifier a locale."""

import pandas as pd
import torch

from analyses.languages.config import ClassifierCell, EncoderCell
from analyses.running.command_line import Tables
from lm_merge.evaluation.massive import intent_names, read_massive
from lm_merge.evaluation.transfer import right_answers
from lm_merge.models.classifier import wrap_classifier
from lm_merge.runs.record import Run
from lm_merge.zoo.ngram_classifier import NgramModel
from lm_merge.zoo.ngram_training import pretrain, tune

MODEL = "model"  # folder inside of the run's


def train_encoder(cell: EncoderCell, record: Run) -> Tables:
    """The encoder, in the run's folder; a training that was stopped goes on from its last checkpoint."""
    torch.set_num_threads(1)  # the matrices are small: threads would wait for each other
    texts = read_massive(cell.data, cell.locales, "train")
    chosen = {locale: texts[locale].drawn(0, cell.n_parallel).texts for locale in cell.locales}
    checkpoint = record.folder.parent / f".pretraining-{record.record.config_hash}.safetensors"
    encoder = pretrain(chosen, cell.settings, checkpoint=checkpoint)
    encoder.save_pretrained(record.folder / MODEL)
    checkpoint.unlink(missing_ok=True)
    record.add_file(record.folder / MODEL)
    record.update(device="cpu", seeds=(cell.settings.seed,))
    return {}


def train_classifier(cell: ClassifierCell, record: Run) -> Tables:
    """A classifier of all intents, in the run's folder; table "dev": its accuracy at home."""
    torch.set_num_threads(1)
    train = read_massive(cell.data, (cell.locale,), "train")[cell.locale]
    last = None if cell.n_tuning is None else cell.n_parallel + cell.n_tuning
    texts = train.drawn(cell.n_parallel, last)
    encoder = NgramModel.from_pretrained(cell.encoder)
    model = tune(encoder, texts.texts, texts.labels, intent_names(cell.data), cell.settings)
    model.save_pretrained(record.folder / MODEL)
    record.add_file(record.folder / MODEL)
    record.update(device="cpu", seeds=(cell.settings.seed,))
    dev = read_massive(cell.data, (cell.locale,), "dev")[cell.locale]
    right = right_answers(wrap_classifier(model, None, cell.locale), dev)
    return {"dev": pd.DataFrame([{"locale": cell.locale, "accuracy_frac": float(right.mean())}])}

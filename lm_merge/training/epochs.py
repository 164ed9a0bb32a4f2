"""One epoch of one classifier, with AdamW, its moments given and taken."""

import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lm_merge.evaluation.massive import LabelledTexts
from lm_merge.models.classifier import Classifier
from lm_merge.training.rounds_settings import RoundsSettings

FIRST, SECOND = "exp_avg", "exp_avg_sq"  # AdamW's moments


def train_epoch(
    model: Classifier,
    texts: LabelledTexts,
    moments: dict[str, Tensor],
    step: int,
    locale: str,
    epoch: int,
    settings: RoundsSettings,
    *,
    held: int | None = None,
) -> tuple[list[float], float]:
    """One pass over the texts; losses of its steps in nats, and the last learning rate.

    A step has batch x accumulation texts. held: texts that pass through the model at once; None: a
    batch. moments: read and replaced in place. The schedule is a line from the peak to 0 over all
    epochs; after a reset of the moments the first steps warm up.
    """
    key = [settings.seed, epoch, zlib.crc32(locale.encode())]
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
    order = np.random.default_rng(key).permutation(len(texts))
    held, size = held or settings.batch, settings.batch * settings.accumulation
    batches = [order[start : start + size].tolist() for start in range(0, len(order), size)]
    optimizer = torch.optim.AdamW(model.model.parameters(), weight_decay=settings.weight_decay)
    named = {name: one for name, one in model.model.named_parameters()}
    _load_moments(optimizer, named, moments)
    warm = 0 if moments else settings.warmup_steps
    model.model.train()
    losses, rate = list[float](), 0.0
    for number, chosen in enumerate(batches):
        share = 1 - (step + number) / (len(batches) * settings.max_epochs)
        rate = settings.learning_rate * share * min(1.0, (number + 1) / (warm + 1))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        losses.append(0.0)
        for start in range(0, len(chosen), held):
            part = chosen[start : start + held]
            with _forward(model.model.device, settings.precision):
                loss = _loss(model, texts, part, settings.max_length)
            loss = loss * (len(part) / len(chosen))
            loss.backward()
            losses[-1] += float(loss.detach())
        optimizer.step()
    model.model.eval()
    moments.clear()
    moments.update(_moments_of(optimizer, named))
    return losses, rate


def _forward(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Matrix products in bfloat16 where that is asked for; weights and moments stay as they are."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _loss(
    model: Classifier, texts: LabelledTexts, chosen: Sequence[int], max_length: int | None
) -> Tensor:
    strings = [texts.texts[place] for place in chosen]
    truth = torch.tensor([model.labels.index(texts.labels[place]) for place in chosen])
    if model.tokenizer is None:
        batch: Any = model.model.encode_texts(tuple(strings))
    else:
        cut = max_length is not None
        batch = model.tokenizer(
            strings, padding=True, truncation=cut, max_length=max_length, return_tensors="pt"
        )
    logits = model.model(**{key: one.to(model.model.device) for key, one in batch.items()}).logits
    return nn.functional.cross_entropy(logits, truth.to(logits.device))


def _load_moments(
    optimizer: torch.optim.Optimizer,
    named: Mapping[str, nn.Parameter],
    moments: Mapping[str, Tensor],
) -> None:
    if not moments:
        return
    for name, parameter in named.items():
        if f"{name}/{FIRST}" in moments:
            optimizer.state[parameter] = {
                "step": moments["step"].clone(),
                FIRST: moments[f"{name}/{FIRST}"].to(parameter.device, copy=True),
                SECOND: moments[f"{name}/{SECOND}"].to(parameter.device, copy=True),
            }


def _moments_of(
    optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    found = dict[str, Tensor]()
    for name, parameter in named.items():
        state = optimizer.state.get(parameter)
        if state:
            found["step"] = state["step"].clone()
            found[f"{name}/{FIRST}"] = state[FIRST].clone()
            found[f"{name}/{SECOND}"] = state[SECOND].clone()
    return found

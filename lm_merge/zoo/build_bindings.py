"""Train the binding models again: `python -m lm_merge.zoo.build_bindings`, minutes on one CPU thread.

tiny-binder learns the language without updates; tiny-newest and tiny-oldest go on from it and learn
what an update means. Only the linear layers of their blocks are trained, so that each differs from
tiny-binder by what an adapter can hold. A finished model is not trained again.
"""

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import auto_cli
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from lm_merge.zoo.bindings import PAD, WORDS, Drawing, build_tokenizer
from lm_merge.zoo.names import CHECKPOINTS

DRAWINGS = {
    "tiny-binder": Drawing("none", n_tokens=64, unbound=0.4),
    "tiny-newest": Drawing("newest"),
    "tiny-oldest": Drawing("oldest"),
}
N_BLOCKS, WIDTH, N_HEADS = 3, 64, 4
logger = logging.getLogger(__name__)


class BindingBuild(BaseModel):
    """Settings of the training of one binding model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_steps: int = Field(default=600, gt=0, description="steps of the optimizer")
    batch: int = Field(default=32, gt=0, description="texts a step")
    learning_rate: float = Field(default=3e-3, gt=0, description="AdamW's peak; cosine to zero")


DEFAULTS = {
    "tiny-binder": BindingBuild(n_steps=300, batch=64),
    "tiny-newest": BindingBuild(n_steps=900),
    "tiny-oldest": BindingBuild(n_steps=900),
}


def fresh_model() -> LlamaForCausalLM:
    """An untrained model of the binding models' shape: Llama, 3 blocks, width 64, 4 heads."""
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=N_BLOCKS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_HEADS,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config)


def fit(model: LlamaForCausalLM, drawing: Drawing, settings: BindingBuild, seed: int) -> float:
    """Train in place, one text never twice; the mean loss of the last 50 steps, in nats."""
    rng = np.random.default_rng([seed, ("newest", "none", "oldest").index(drawing.rule)])
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, settings.n_steps, pct_start=0.1
    )
    losses: list[float] = []
    for step in range(settings.n_steps):
        ids, labels = map(torch.from_numpy, drawing.draw(rng, settings.batch))
        loss = cross_entropy(model(ids).logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 99:
            logger.info(
                "%s: step %d, loss %.4f nats", drawing.rule, step + 1, np.mean(losses[-50:])
            )
    return float(np.mean(losses[-50:]))


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Store weights in bf16; the configuration asks for float32 when loaded."""
    assert model.generation_config is not None
    model.generation_config.max_new_tokens = 32
    rounded: Any = model
    rounded.to(torch.bfloat16).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")


def train(name: str, settings: BindingBuild, seed: int, out: Path) -> Path:
    """Train one binding model and store it under `out`, where tiny-binder must lie for the others."""
    folder = out / name
    if (folder / "tokenizer.json").is_file():
        return folder
    set_seed(seed)
    if name == "tiny-binder":
        model = fresh_model()
    else:
        model = LlamaForCausalLM.from_pretrained(out / "tiny-binder", dtype=torch.float32)
        model.requires_grad_(False)
        for block in model.model.layers:
            for linear in (one for one in block.modules() if isinstance(one, torch.nn.Linear)):
                linear.requires_grad_(True)
    started = time.perf_counter()
    loss = fit(model.train(), DRAWINGS[name], settings, seed)
    logger.info("%s: loss %.4f nats, %.0f s", name, loss, time.perf_counter() - started)
    save(model.requires_grad_(True).eval(), folder)
    return folder


def build(out: Path = CHECKPOINTS, seed: int = 0, names: list[str] | None = None) -> None:
    """Train tiny-binder, then tiny-newest and tiny-oldest from it.

    Args:
        out: folder that receives one checkpoint folder a model
        seed: seed of the weights and the texts
        names: models to train, all three unless given; tiny-binder must be there or come first
    """
    for name in names or list(DRAWINGS):
        train(name, DEFAULTS[name], seed, out)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    auto_cli(build)

"""Train the adapters of `make real` again: `python -m analyses.real.train_adapters MODEL DATA OUT`.

LoRA with PEFT on all linear layers of the blocks, two epochs in batches of 64, AdamW, one-cycle
learning rate, loss on the reply alone. The four adapters differ in kind on purpose (rank, rsLoRA,
`rank_pattern`), so that a merge has to get all of it right. Replies end with token 1. Needs the extra
`adapters`; a GPU takes 100 seconds an adapter.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analyses.real.questions import PROMPT, TRAINED
from analyses.real.word_problems import training_pairs
from lm_merge.evaluation.massive import read_massive

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHARED: dict[str, Any] = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "task_type": "CAUSAL_LM"}
OWN: dict[str, dict[str, Any]] = {
    "math": {"r": 16, "use_rslora": True},
    "intent-de": {"rank_pattern": {"mlp.down_proj": 4, "mlp.up_proj": 4}},
}
RATES = {"math": 5e-4}  # 1e-3 for the others
END, PADDING, IGNORED = 1, 2, -100  # ids; IGNORED: no loss there
BATCH, N_EPOCHS = 64, 2
Row = tuple[list[int], list[int]]  # ids of prompt and reply


def pairs_of(name: str, data: Path) -> list[tuple[str, str]]:
    """Prompt and reply of an adapter's training examples."""
    if name == "math":
        return list(training_pairs(data))
    (texts,) = read_massive(data / "massive", (TRAINED[name],), "train").values()
    pairs = zip(texts.texts, texts.labels, strict=True)
    return [(PROMPT.format(text=text), label.replace("_", " ")) for text, label in pairs]


def train(model: str, data: Path, out: Path, names: Sequence[str] = ("math", *TRAINED)) -> None:
    """Train adapters of a base model and save each in a folder of its name.

    Args:
        model: folder or hub name of the base.
        data: folder of the data, as for `make real`.
        out: folder for the adapters.
        names: which of math, intent-en, intent-fr, intent-de.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(model)
    for name in names:
        torch.manual_seed(0)
        base: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
        base.to(device)
        settings = LoraConfig(target_modules=MODULES, **{**SHARED, **OWN.get(name, {})})
        adapted = get_peft_model(base, settings)
        rows = [encoded(tokenizer, *pair) for pair in pairs_of(name, data)]
        _fit(adapted, rows, RATES.get(name, 1e-3), name, device)
        adapted.to(torch.bfloat16).save_pretrained(str(out / name))


def encoded(tokenizer: Any, prompt: str, reply: str) -> Row:
    """Ids of a prompt in the chat template, and of the reply with its end token."""
    turn = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    given, wanted = (tokenizer(one, add_special_tokens=False).input_ids for one in (text, reply))
    return given, [*wanted, END]


def batches(rows: Sequence[Row], n_steps: int) -> Iterator[dict[str, Tensor]]:
    """Batches padded on the right, without repeats until all rows but a rest have been used."""
    rng, order = random.Random(0), []
    for _ in range(n_steps):
        if len(order) < BATCH:
            order = list(range(len(rows)))
            rng.shuffle(order)
        chosen = [rows[order.pop()] for _ in range(BATCH)]
        width = max(len(prompt) + len(reply) for prompt, reply in chosen)
        ids = torch.full((BATCH, width), PADDING)
        labels = torch.full_like(ids, IGNORED)
        mask = torch.zeros_like(ids)
        for row, (prompt, reply) in enumerate(chosen):
            end = len(prompt) + len(reply)
            ids[row, :end] = torch.tensor([*prompt, *reply])
            labels[row, len(prompt) : end] = torch.tensor(reply)
            mask[row, :end] = 1
        yield {"input_ids": ids, "labels": labels, "attention_mask": mask}


def _fit(model: Any, rows: Sequence[Row], rate: float, name: str, device: str) -> None:
    trained = [one for one in model.parameters() if one.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    n_steps = N_EPOCHS * len(rows) // BATCH
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rate, total_steps=n_steps, pct_start=0.05
    )
    model.train()
    for step, batch in enumerate(batches(rows, n_steps)):
        with torch.autocast(device, torch.bfloat16):
            loss = model(**{key: one.to(device) for key, one in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0:
            sys.stderr.write(f"{name}: step {step} of {n_steps}, loss {loss.item():.3f}\n")


if __name__ == "__main__":
    from analyses.running.options import call_with

    call_with(train, sys.argv[1:], prog="python -m analyses.real.train_adapters")

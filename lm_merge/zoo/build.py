"""Train the bundled trio again: `python -m lm_merge.zoo.build`, about an hour on two cores.

An interrupted run goes on from its last Trainer checkpoint under `--work`.
"""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jsonargparse import auto_cli
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from lm_merge.generation import generate, prepare
from lm_merge.zoo.names import ACCURACY_FILE, BUNDLED, CHECKPOINTS, BundledModel
from lm_merge.zoo.scoring import MAX_NEW_TOKENS, answer_questions
from lm_merge.zoo.tasks import SKILLS, Question, draw_questions
from lm_merge.zoo.tokenizer import N_TOKENS, train_tokenizer

IGNORED_LABEL = -100  # Hugging Face's label for positions without loss
# share of a skill among the examples, 1 unless named: harder or larger skills get more
SHARES = {"capitals": 2, "elements": 2, "ordering": 3, "one_step_programs": 3}
N_BLOCKS, WIDTH = 8, 128
SAVE_STEPS = 500
MICRO_BATCHES = 4  # a step's examples, sorted by length, in four parts: half the padding


class BuildConfig(BaseModel):
    """Settings of the training of one bundled model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_examples: int = Field(default=150_000, gt=0, description="examples drawn, each seen once")
    batch: int = Field(default=96, gt=0, description="examples a step")
    learning_rate: float = Field(default=1.5e-3, gt=0, description="AdamW's peak; cosine to zero")
    seed: int = Field(default=0, description="seed of the data, the weights and their order")


DEFAULTS = {
    "tiny-instruct": BuildConfig(n_examples=300_000),
    # light, so that it stays near its ancestor; the ancestor's other skills are not rehearsed
    "tiny-thinker": BuildConfig(n_examples=60_000, learning_rate=5e-4, seed=1),
    "tiny-coder": BuildConfig(n_examples=150_000, learning_rate=1e-3, seed=2),
}


def reply(question: Question, thinks: bool) -> str:
    """What a model is trained to generate: the answer, after its thought if the model thinks."""
    return f"<think>{question.thought}</think>{question.answer}" if thinks else question.answer


def training_questions(model: BundledModel, n: int, seed: int) -> list[Question]:
    """`n` training questions of the model's skills, by share; prompts may repeat."""
    rng = random.Random(seed)
    shares = [SHARES.get(name, 2) for name in model.skills]
    names = rng.choices(model.skills, shares, k=n)
    return [SKILLS[name].draw(rng, "train") for name in names]


class ChatExamples(Dataset):
    """Tokenized conversations, by length within each batch; only the assistant's tokens carry a loss."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        questions: list[Question],
        thinks: bool,
        batch: int,
    ):
        chats = [
            [
                {"role": "user", "content": question.prompt},
                {"role": "assistant", "content": reply(question, thinks)},
            ]
            for question in questions
        ]
        encoded: Any = tokenizer.apply_chat_template(
            chats, return_dict=True, return_assistant_tokens_mask=True
        )
        pairs = list(zip(encoded["input_ids"], encoded["assistant_masks"], strict=True))
        batches = [pairs[start : start + batch] for start in range(0, len(pairs), batch)]
        self.pairs: list[tuple[list[int], list[int]]] = [
            pair for one in batches for pair in sorted(one, key=lambda pair: len(pair[0]))
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        ids, mask = self.pairs[index]
        labels = [
            token if learned else IGNORED_LABEL for token, learned in zip(ids, mask, strict=True)
        ]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def build_tokenizer(seed: int = 0, n_texts: int = 20_000) -> PreTrainedTokenizerBase:
    """The trio's one tokenizer, trained on questions, thoughts and answers of every skill."""
    rng = random.Random(seed)
    texts = []
    for _ in range(n_texts):
        question = SKILLS[rng.choice(list(SKILLS))].draw(rng, "train")
        texts.append(f"user\n{question.prompt}\nassistant\n{question.thought}\n{question.answer}")
    return train_tokenizer(texts)


def fresh_model() -> Qwen2ForCausalLM:
    """An untrained model of the trio's shape: Qwen2, 8 blocks, width 128, 4 heads on 2 key heads."""
    config = Qwen2Config(
        vocab_size=N_TOKENS,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=N_BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    return Qwen2ForCausalLM(config)


def save(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Store weights in bf16; the configuration asks for float32 when loaded."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.max_new_tokens = 64
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")


def train(bundled: BundledModel, config: BuildConfig, out: Path, work: Path) -> Path:
    """Train one model of the trio and store it under `out`; its ancestor must lie there already."""
    set_seed(config.seed)
    tokenizer = build_tokenizer()
    if bundled.ancestor is None:
        model = fresh_model()
    else:
        model = AutoModelForCausalLM.from_pretrained(out / bundled.ancestor, dtype=torch.float32)
    questions = training_questions(bundled, config.n_examples, config.seed)
    fit(model, tokenizer, questions, bundled.thinks, config, work / bundled.name)
    save(model, tokenizer, out / bundled.name)
    return out / bundled.name


def fit(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    questions: list[Question],
    thinks: bool,
    config: BuildConfig,
    work: Path,
) -> None:
    """Train a model on questions, in place; an interrupted run goes on from checkpoints in `work`."""
    fit_examples(
        model, tokenizer, ChatExamples(tokenizer, questions, thinks, config.batch), config, work
    )


def fit_examples(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    examples: Dataset,
    config: BuildConfig,
    work: Path,
    kind: type[Trainer] = Trainer,
) -> None:
    """Train a model, in place, on examples in the order of their batches, once each.

    kind: the trainer, whose loss counts.
    """
    tokenizer.padding_side = "right"
    arguments = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=1,
        per_device_train_batch_size=config.batch // MICRO_BATCHES,
        gradient_accumulation_steps=MICRO_BATCHES,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=100,
        train_sampling_strategy="sequential",
        weight_decay=0.01,
        seed=config.seed,
        use_cpu=True,
        remove_unused_columns=False,
        save_steps=SAVE_STEPS,
        save_total_limit=1,
        logging_steps=100,
        report_to="none",
    )
    trainer = kind(
        model,
        arguments,
        train_dataset=examples,
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED_LABEL),
    )
    started = work.is_dir() and get_last_checkpoint(str(work))
    trainer.train(resume_from_checkpoint=started or None)
    tokenizer.padding_side = "left"


def measure(out: Path, n: int = 200) -> pd.DataFrame:
    """Accuracy of every model found on `n` held-out questions of every skill (or all there are).

    Columns: model, skill, category, trained (whether the model was taught the skill),
    accuracy_frac, n.
    """
    rows = []
    for bundled in BUNDLED.values():
        folder = out / bundled.name
        if not folder.is_dir():
            continue
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def reply(prompts: list[str], model=model, tokenizer=tokenizer) -> list[str]:
            encoded = prepare(tokenizer, prompts, str(model.name_or_path), chat=True)
            return generate(model, tokenizer, encoded, max_new_tokens=MAX_NEW_TOKENS)

        for skill in SKILLS.values():
            questions = draw_questions((skill.name,), min(n, skill.n_held_out or n), seed=0)
            answers = answer_questions(reply, questions)
            rows.append(
                {
                    "model": bundled.name,
                    "skill": skill.name,
                    "category": skill.category,
                    "trained": skill.name in bundled.skills,
                    "accuracy_frac": sum(answer.correct for answer in answers) / len(answers),
                    "n": len(answers),
                }
            )
    return pd.DataFrame(rows)


def build(
    out: Path = CHECKPOINTS, work: Path = Path("runs/zoo"), names: list[str] | None = None
) -> None:
    """Train tiny-instruct, then tiny-thinker and tiny-coder from it, and measure the three.

    Args:
        out: folder that receives one checkpoint folder a model, and the accuracy table
        work: folder for the trainer's own checkpoints, from which an interrupted run goes on
        names: models to train, all three unless given; an ancestor must be there or come first
    """
    for name in names or list(BUNDLED):
        train(BUNDLED[name], DEFAULTS[name], out, work)
    measure(out).to_csv(out / ACCURACY_FILE, index=False)


if __name__ == "__main__":
    auto_cli(build)

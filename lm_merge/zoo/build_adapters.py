"""Train three adapters of tiny-instruct: `python -m lm_merge.zoo.build_adapters`.

Needs PEFT (extra `adapters`), which writes the adapters' format. An interrupted run goes on from its
last Trainer checkpoint under `--work`.

The bundled adapters learn nothing but their skill, at a high rate. Two options make milder ones, which
are not bundled: replies without a thought (the base never generates `<think>`, `</think>`, `+` or `=`,
so its unembedding hardly tells them apart, and only a large update can), and a share of every batch in
which the divergence from the base's own predictions on all other skills is the loss:

    python -m lm_merge.zoo.build_adapters --out runs/mild_adapters --work runs/mild_work \\
        --training.thoughts false --training.replay_frac 0.3 --training.learning_rate 3e-3
"""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jsonargparse import auto_cli
from pydantic import Field
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from lm_merge.generation import generate, prepare
from lm_merge.zoo.adapter_names import ADAPTER_BASE, ADAPTERS, BUNDLED_ADAPTERS, BundledAdapter
from lm_merge.zoo.build import BuildConfig, ChatExamples, fit, fit_examples
from lm_merge.zoo.names import ACCURACY_FILE, BUNDLED
from lm_merge.zoo.replay import ReplayExamples, ReplayTrainer
from lm_merge.zoo.scoring import MAX_NEW_TOKENS, answer_questions
from lm_merge.zoo.tasks import SKILLS, draw_questions

RANK = 8
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class AdapterTraining(BuildConfig):
    """How an adapter is trained; the defaults are those of the bundled adapters."""

    n_examples: int = Field(default=60_000, gt=0, description="examples of the skill and replayed")
    learning_rate: float = Field(default=4e-3, gt=0, description="AdamW's peak; cosine to zero")
    seed: int = Field(default=3, description="seed of the data, the factors and their order")
    thoughts: bool = Field(
        default=True, description="replies begin with a thought where the adapter thinks"
    )
    replay_frac: float = Field(
        default=0.0, ge=0, lt=1, description="share of a batch from all other skills, as the base"
    )


SETTINGS = AdapterTraining()


def train_adapter(bundled: BundledAdapter, config: AdapterTraining, out: Path, work: Path) -> Path:
    """Train one adapter on its skill and store it, in bf16, under `out`."""
    from peft import LoraConfig, get_peft_model

    set_seed(config.seed)
    base = BUNDLED[ADAPTER_BASE].path
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=MODULES, task_type="CAUSAL_LM"
    )
    adapted: Any = get_peft_model(model, settings)
    _learn(adapted, tokenizer, bundled, config, work / bundled.name)
    folder = out / bundled.name
    adapted.to(torch.bfloat16).save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    _name_the_base(folder / "adapter_config.json")
    return folder


def _learn(
    adapted: Any, tokenizer: Any, bundled: BundledAdapter, config: AdapterTraining, work: Path
) -> None:
    """Train on the skill, and on what the base predicts on all other skills where that is wanted."""
    rng, thinks = random.Random(config.seed), bundled.thinks and config.thoughts
    n_replayed = min(round(config.batch * config.replay_frac), config.batch - 1)
    n_batches, n_own = config.n_examples // config.batch, config.batch - n_replayed
    n_drawn = n_batches * n_own if n_replayed else config.n_examples
    own = [SKILLS[bundled.name].draw(rng, "train") for _ in range(n_drawn)]
    if not n_replayed:
        fit(adapted, tokenizer, own, thinks, config, work)
        return
    names = [name for name in SKILLS if name != bundled.name]
    others = [SKILLS[rng.choice(names)].draw(rng, "train") for _ in range(n_batches * n_replayed)]
    examples = ReplayExamples(
        ChatExamples(tokenizer, own, thinks, n_own),
        ChatExamples(tokenizer, others, False, n_replayed),
        n_own,
        n_replayed,
    )
    fit_examples(adapted, tokenizer, examples, config, work, ReplayTrainer)


def _name_the_base(path: Path) -> None:
    """The base by its bundled name, in place of a folder of the machine that trained it."""
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = ADAPTER_BASE
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def measure(out: Path, n: int = 200) -> pd.DataFrame:
    """Accuracy of the base with each adapter found on `n` held-out questions of every skill.

    Columns: adapter ("none" for the base), skill, trained (the skill the adapter was taught),
    accuracy_frac, n.
    """
    from peft import PeftModel

    base = BUNDLED[ADAPTER_BASE].path
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    rows = []
    for name in ("none", *(one for one in BUNDLED_ADAPTERS if (out / one).is_dir())):
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if name != "none":
            model = PeftModel.from_pretrained(model, str(out / name)).merge_and_unload()

        def answer(prompts: list[str], model: Any = model) -> list[str]:
            encoded = prepare(tokenizer, prompts, ADAPTER_BASE, chat=True)
            return generate(model, tokenizer, encoded, max_new_tokens=MAX_NEW_TOKENS)

        for skill in SKILLS.values():
            questions = draw_questions((skill.name,), min(n, skill.n_held_out or n), seed=0)
            answers = answer_questions(answer, questions)
            rows.append(
                {
                    "adapter": name,
                    "skill": skill.name,
                    "trained": skill.name == name,
                    "accuracy_frac": sum(one.correct for one in answers) / len(answers),
                    "n": len(answers),
                }
            )
    return pd.DataFrame(rows)


def build(
    out: Path = ADAPTERS,
    work: Path = Path("runs/zoo-adapters"),
    names: list[str] | None = None,
    training: AdapterTraining = SETTINGS,
) -> None:
    """Train the adapters and measure them.

    Args:
        out: folder that receives one folder an adapter, and the accuracy table
        work: folder for the trainer's own checkpoints, from which an interrupted run goes on
        names: adapters to train, all three unless given
        training: settings of the training; give other settings another `work`
    """
    for name in names or list(BUNDLED_ADAPTERS):
        train_adapter(BUNDLED_ADAPTERS[name], training, out, work)
    measure(out).to_csv(out / ACCURACY_FILE, index=False)


if __name__ == "__main__":
    auto_cli(build)

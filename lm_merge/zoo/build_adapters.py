"""Train three adapters of tiny-instruct: `python -m lm_merge.zoo.build_adapters`.

Needs PEFT (extra `adapters`), which writes the adapters' format. An interrupted run goes on from its
last Trainer checkpoint under `--work`.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jsonargparse import auto_cli
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from lm_merge.generation import generate, prepare
from lm_merge.zoo.adapter_names import ADAPTER_BASE, ADAPTERS, BUNDLED_ADAPTERS, BundledAdapter
from lm_merge.zoo.build import BuildConfig, fit
from lm_merge.zoo.names import ACCURACY_FILE, BUNDLED
from lm_merge.zoo.scoring import MAX_NEW_TOKENS, answer_questions
from lm_merge.zoo.tasks import SKILLS, draw_questions

RANK = 8
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SETTINGS = BuildConfig(n_examples=60_000, learning_rate=4e-3, seed=3)


def train_adapter(bundled: BundledAdapter, config: BuildConfig, out: Path, work: Path) -> Path:
    """Train one adapter on its skill and store it, in bf16, under `out`."""
    import random

    from peft import LoraConfig, get_peft_model

    set_seed(config.seed)
    base = BUNDLED[ADAPTER_BASE].path
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=MODULES, task_type="CAUSAL_LM"
    )
    adapted: Any = get_peft_model(model, settings)
    rng = random.Random(config.seed)
    questions = [SKILLS[bundled.name].draw(rng, "train") for _ in range(config.n_examples)]
    fit(adapted, tokenizer, questions, bundled.thinks, config, work / bundled.name)
    folder = out / bundled.name
    adapted.to(torch.bfloat16).save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    _name_the_base(folder / "adapter_config.json")
    return folder


def _name_the_base(path: Path) -> None:
    """The base by its bundled name, in place of a folder of the machine that trained it."""
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = ADAPTER_BASE
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def measure(out: Path, n: int = 200) -> pd.DataFrame:
    """Accuracy of the base with each adapter on `n` held-out questions of every skill.

    Columns: adapter ("none" for the base), skill, trained (the skill the adapter was taught),
    accuracy_frac, n.
    """
    from peft import PeftModel

    base = BUNDLED[ADAPTER_BASE].path
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    rows = []
    for name in ("none", *BUNDLED_ADAPTERS):
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
    out: Path = ADAPTERS, work: Path = Path("runs/zoo-adapters"), names: list[str] | None = None
) -> None:
    """Train the adapters and measure them.

    Args:
        out: folder that receives one folder an adapter, and the accuracy table
        work: folder for the trainer's own checkpoints, from which an interrupted run goes on
        names: adapters to train, all three unless given
    """
    for name in names or list(BUNDLED_ADAPTERS):
        train_adapter(BUNDLED_ADAPTERS[name], SETTINGS, out, work)
    measure(out).to_csv(out / ACCURACY_FILE, index=False)


if __name__ == "__main__":
    auto_cli(build)

"""Training with replay: cross-entropy on the skill, the base's own predictions on the rest."""

import random
from collections.abc import Mapping

import pytest
import torch
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, set_seed

from lm_merge.zoo.build import IGNORED_LABEL, ChatExamples, fresh_model
from lm_merge.zoo.names import BUNDLED
from lm_merge.zoo.replay import ReplayExamples, ReplayTrainer
from lm_merge.zoo.tasks import SKILLS


class _Plain:
    """As much of a trainer as its loss uses."""

    class accelerator:  # noqa: N801 # the trainer's name
        @staticmethod
        def unwrap_model(model):
            return model


def loss(model, batch: Mapping[str, torch.Tensor]) -> float:
    found = ReplayTrainer.compute_loss(_Plain(), model, dict(batch))  # pyright: ignore[reportArgumentType]
    return found.item()


def test_what_is_replayed_costs_nothing_until_the_adapter_differs_from_the_base():
    peft = pytest.importorskip("peft", reason="adapters are trained with PEFT")
    set_seed(0)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(fresh_model(), settings).eval()
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED["tiny-instruct"].path)
    rng = random.Random(0)
    own = [SKILLS["sums"].draw(rng, "train") for _ in range(2)]
    others = [SKILLS["capitals"].draw(rng, "train") for _ in range(4)]
    examples = ReplayExamples(
        ChatExamples(tokenizer, own, True, 1), ChatExamples(tokenizer, others, False, 2), 1, 2
    )
    assert [one["replayed"] for one in examples.examples] == [0, 1, 1] * 2
    collate = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED_LABEL)
    learnt, replayed = collate(examples.examples[:1]), collate(examples.examples[1:3])
    mixed = collate(examples.examples[:3])
    own_loss = model(**{key: learnt[key] for key in ("input_ids", "labels")}).loss.item()
    assert loss(model, learnt) == pytest.approx(own_loss, rel=1e-5)
    assert loss(model, replayed) == pytest.approx(0, abs=1e-6)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    assert loss(model, replayed) > 1e-3
    n = [int((one["labels"][:, 1:] != IGNORED_LABEL).sum()) for one in (learnt, replayed)]
    expected = (n[0] * loss(model, learnt) + n[1] * loss(model, replayed)) / sum(n)
    assert loss(model, mixed) == pytest.approx(expected, rel=1e-4)

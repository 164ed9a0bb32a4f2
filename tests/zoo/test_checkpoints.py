"""The bundled models are what the tables say they are."""

from pathlib import Path

import pandas as pd
import pytest
from safetensors import safe_open

import lm_merge as lm
from lm_merge.evaluation import ask
from lm_merge.zoo.names import ACCURACY_FILE, BUNDLED, CHECKPOINTS
from lm_merge.zoo.tasks import SKILLS, draw_questions

GUIDE = Path(__file__).parents[2] / "docs" / "install.md"


@pytest.fixture(scope="module")
def accuracy() -> pd.DataFrame:
    return pd.read_csv(CHECKPOINTS / ACCURACY_FILE)


def test_the_table_has_every_model_and_skill_and_every_taught_skill_is_known(accuracy):
    assert len(accuracy) == len(BUNDLED) * len(SKILLS)
    assert (accuracy[accuracy.trained].accuracy_frac >= 0.9).all()


def test_each_of_the_pair_beats_the_other_by_20_points_in_some_category(accuracy):
    by_model = accuracy.groupby(["model", "category"]).accuracy_frac.mean().unstack("model")
    difference = by_model["tiny-instruct"] - by_model["tiny-thinker"]
    assert difference.max() >= 0.2
    assert difference.min() <= -0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLED)
def test_the_models_still_do_what_the_table_says(accuracy, name):
    model = lm.load(name)
    table = accuracy[accuracy.model == name].set_index("skill").accuracy_frac
    for skill in BUNDLED[name].skills:
        answers = ask(model, draw_questions((skill,), 40, seed=7))
        got = sum(answer.correct for answer in answers) / len(answers)
        assert got == pytest.approx(table[skill], abs=0.1), skill


@pytest.mark.parametrize("name", BUNDLED)
def test_weights_are_stored_in_bf16_and_load_in_float32(name):
    with safe_open(BUNDLED[name].path / "model.safetensors", "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118
    assert str(lm.load(name).dtype) == "torch.float32"


def test_the_trio_is_small_and_shares_one_tokenizer():
    files = [path for path in CHECKPOINTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12e6
    texts = {(CHECKPOINTS / name / "tokenizer.json").read_text() for name in BUNDLED}
    assert len(texts) == 1


def test_the_guides_table_is_the_measured_one(accuracy):
    lines = GUIDE.read_text().splitlines()
    for skill in SKILLS:
        row = accuracy[accuracy.skill == skill].set_index("model")
        cells = [
            f"**{100 * row.accuracy_frac[name]:.0f}**"
            if row.trained[name]
            else f"{100 * row.accuracy_frac[name]:.0f}"
            for name in BUNDLED
        ]
        category = row.category.iloc[0]
        assert f"| {category} | {skill} | {row.n.iloc[0]} | {' | '.join(cells)} |" in lines

"""Data and experiments of `make real`: problems with whole steps, files of questions, findings."""

import json

import pandas as pd
import pytest

from analyses.real.config import RealConfig
from analyses.real.experiments import EXPERIMENTS
from analyses.real.word_problems import N_TESTS, held_out_questions, problems, training_pairs
from analyses.real.writing import put_findings

CAKE = {
    "Question": "A recipe wants number0 cups , in number1 parts . How many cups are number2 parts ?",
    "Numbers": "8.0 2.0 3.0",
    "Equation": "* / number0 number1 number2",
}
UNUSED = (
    {**CAKE, "Numbers": "7.0 2.0 3.0"},  # 7 / 2 is no whole number
    {**CAKE, "Equation": "- number1 number0"},  # negative
    {**CAKE, "Numbers": "8.5 2.0 3.0"},
    {**CAKE, "Equation": "number0"},  # no step
)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "mawps").mkdir()
    (tmp_path / "massive").mkdir()
    path = tmp_path / "mawps" / "mawps_slots.json"
    path.write_text(json.dumps([*UNUSED, CAKE]), encoding="utf-8")
    locales = ("en-US", "fr-FR", "de-DE", "es-ES", "it-IT", "pt-PT")
    rows = [(one, locale, f"{locale} {one}") for one in (1, 2) for locale in locales]
    table = pd.DataFrame(rows, columns=["id", "locale", "utt"])
    table.to_parquet(tmp_path / "massive" / "massive11_utt.parquet")
    labels = {"id": [1, 2], "partition": "test", "scenario": "alarm", "intent": "alarm_set"}
    pd.DataFrame(labels).to_csv(tmp_path / "massive" / "massive11_labels.csv", index=False)
    return tmp_path


def test_problems_have_whole_steps_and_training_leaves_the_tests_out(data):
    (only,) = problems(data)
    assert only.solved() == (12, ["8 / 2 = 4", "4 * 3 = 12"])
    prompt = "A recipe wants 8 cups, in 2 parts. How many cups are 3 parts?"
    assert held_out_questions(data, 5) == [(prompt, 12)]
    assert list(training_pairs(data)) == []
    path = data / "mawps" / "mawps_slots.json"
    path.write_text(json.dumps([CAKE] * (N_TESTS + 1)), encoding="utf-8")
    first, *drawn = training_pairs(data)
    assert first == (prompt, "<think> 8 / 2 = 4 ; 4 * 3 = 12 </think> 12")
    for _, reply in drawn:
        steps, _, answer = reply.removeprefix("<think> ").partition(" </think> ")
        value = None
        for step in steps.split(" ; "):
            left, sign, right, _, value = step.split()
            whole = int(left) * int(right) if sign == "*" else int(left) / int(right)
            assert whole == int(value)
        assert value == answer


def test_every_experiment_is_set_up_on_the_same_pair(data, tmp_path):
    config = RealConfig(
        model="tiny-instruct",
        adapters=data / "adapters",
        data=data,
        merges=("latents:slerp", "latents:lerp", "adapters:linear", "logits:soft"),
        layers=(3, 7),
        stream_layers=(1, 7),
        n_questions=1,
        n_requests=2,
    )
    made = {name: make(config, tmp_path / "questions") for name, make in EXPERIMENTS.items()}
    skill = made["skill_transfer"]
    assert skill.recipe.layers == {7: 0.5}
    assert skill.donor.adapter == str(data / "adapters" / "math")
    spaces = {(one.space, one.operator) for one in skill.grid()}
    assert spaces == {
        *(("latents", "slerp"), ("latents", "lerp"), ("adapters", "linear"), ("logits", "soft")),
    }
    assert skill.n_questions == len(skill.questions.read_text(encoding="utf-8").splitlines()) == 1
    assert made["layerwise"].layers == made["curvature"].layers == (1, 7)
    lines = made["adapters"].questions.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 12
    assert rows[0]["answer"] == "alarm set"
    assert {row["category"] for row in rows} == {
        f"intent-{language}" for language in ("en", "fr", "de", "es", "it", "pt")
    }


def test_findings_replace_those_of_the_same_experiment_only(tmp_path):
    path = tmp_path / "summary.json"
    for name, value in (("similarity", 1.0), ("layerwise", 2.0), ("similarity", 3.0)):
        put_findings(path, name, [{"experiment": name, "value": value}])
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert {row["experiment"]: row["value"] for row in rows} == {
        "layerwise": 2.0,
        "similarity": 3.0,
    }
    assert len(rows) == 2

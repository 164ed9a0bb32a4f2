"""The comparison analysis: default systems, records, going on after a stop, bad input."""

import json
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hostile_endpoint import HostileEndpoint, serving

from analyses import answers as answering
from analyses.comparison import analysis as comparison
from analyses.comparison.config import ComparisonConfig
from analyses.comparison.estimate import ComparisonExtras, estimate_or_run
from analyses.comparison.systems import default_systems, opposed, sources_of
from analyses.comparison.tables import tables_of
from analyses.running.command import command
from lm_merge.recipes import ModelSource, Recipe
from lm_merge.runs.identity import config_hash
from lm_merge.runs.record import read_record, start_run

compose_module = import_module("lm_merge.spaces.compose")
loader_module = import_module("lm_merge.spaces.source_loader")
MERGE = {
    "space": "latents",
    "host": "tiny-instruct",
    "donors": ("tiny-thinker",),
    "operator": "slerp",
    "layers": (3,),
    "alpha": 0.5,
}
SMALL = {
    "systems": {"host": "tiny-instruct", "donor": "tiny-thinker", "latents slerp": MERGE},
    "n_per_category": 3,
    "seeds": (0, 1),
    "batch_size": 4,
}


@pytest.fixture(scope="module", autouse=True)
def _loaded_once():
    """Each model is loaded once for all tests here; merges share it, one at a time."""
    once = cache(compose_module.load)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose_module, "load", once)
        patch.setattr(loader_module, "load_or_keep", once)
        patch.setattr("lm_merge.models.load", once)
        yield


main = partial(command, "comparison", extras=ComparisonExtras, using=estimate_or_run)


@pytest.fixture(scope="module")
def tables():
    return comparison.run(ComparisonConfig(**SMALL))


def test_every_system_answers_every_question_of_every_seed(tables):
    table = tables["answers"]
    assert len(table) == 3 * 2 * 4 * 3
    assert (table.groupby(["system", "seed", "category"]).size() == 3).all()
    assert set(table.right) <= {0.0, 1.0}
    accuracy = tables["accuracy"].set_index(["system", "category"])
    assert accuracy.n["host", "Overall"] == 24
    assert accuracy.accuracy_frac["host", "Reasoning"] == 1.0
    assert accuracy.space.groupby("system").first().to_dict() == {
        "host": "",
        "donor": "",
        "latents slerp": "latents",
    }


def test_without_weight_merges_every_system_is_set_against_every_other(tables):
    rates = tables["win_rates"]
    assert set(zip(rates.system, rates.opponent, strict=True)) == {
        ("host", "donor"),
        ("host", "latents slerp"),
        ("donor", "latents slerp"),
    }
    assert set(tables["strengths"].system) == set(SMALL["systems"])


def test_default_systems_have_parents_both_ends_and_every_space():
    systems = default_systems(
        Recipe(host="a", donors=("b",), layers=(3,), alpha=0.5), ("lerp", "slerp", "regmean")
    )
    assert list(systems) == [
        "host", "donor", "latents lerp", "latents slerp", "latents regmean", "latents lerp 0",
        "latents lerp 1", "weights linear", "weights slerp", "logits soft",
    ]  # fmt: skip
    assert opposed(systems) == (
        ("latents lerp", "weights linear"),
        ("latents slerp", "weights slerp"),
        ("latents regmean", "weights linear"),
    )


@pytest.mark.slow
def test_the_default_systems_run_in_every_space_and_alpha_0_is_the_host():
    tables = comparison.run(ComparisonConfig(n_per_category=2, seeds=(0,)))
    replies = {name: list(rows.reply) for name, rows in tables["answers"].groupby("system")}
    assert replies["latents lerp 0"] == replies["host"]
    assert replies["latents regmean"] == replies["latents lerp"]  # one donor: the same operator
    spaces = tables["accuracy"].groupby("system").space.first()
    assert set(spaces) == {"", "latents", "weights", "logits"}
    rates = tables["win_rates"]
    assert set(rates.system) == {"latents lerp", "latents slerp", "latents regmean"}
    assert set(rates.category) == {"Knowledge", "Reasoning", "Math", "Coding", "Overall"}
    assert comparison.summary(tables).count("\n") == 3


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_stopped_and_says_the_same(tmp_path, monkeypatch, tables):
    spoken = []
    plain = answering.reply_in_batches

    def stops_after(n_batches: int):
        def replies(system, prompts, **arguments):
            for batch in plain(system, prompts, **arguments):
                if len(spoken) == n_batches:
                    raise KeyboardInterrupt
                spoken.append(batch)
                yield batch

        return replies

    config = ComparisonConfig(**SMALL)
    for n_batches in (2, 5, 8, 1000):
        monkeypatch.setattr(answering, "reply_in_batches", stops_after(n_batches))
        try:
            with start_run("comparison", config, root=tmp_path) as record:
                again = comparison.run(config, record)
        except KeyboardInterrupt:
            continue
    assert len(spoken) == 3 * 2 * 3  # three batches of four a seed: none was made twice
    assert again["answers"].equals(tables["answers"])


@pytest.mark.slow
def test_a_torn_line_and_a_half_batch_are_not_taken_over(tmp_path):
    config = ComparisonConfig(**SMALL)
    cells = config.model_copy(update={"seeds": (0,)})
    with start_run("comparison", cells, root=tmp_path) as record:
        comparison.run(cells, record)
    (folder, *_) = sorted(tmp_path.glob("*-answers-*"))
    cell = answering.AnswersConfig.model_validate(
        json.loads((folder / "record.json").read_text())["config_resolved"]
    )
    path = folder / answering.FILE
    lines = path.read_text().splitlines(keepends=True)
    assert len(answering.unfinished_rows(tmp_path, cell)) == 12
    path.write_text("".join(lines[:10]) + lines[10][:20])
    assert answering.unfinished_rows(tmp_path, cell) == [json.loads(line) for line in lines[:8]]


@pytest.mark.slow
def test_the_command_says_who_is_ahead_and_finds_its_run_again(tmp_path, capsys):
    path = tmp_path / "config.json"  # JSON is YAML
    systems = {name: source if isinstance(source, str) else {**source, "donors": ["tiny-thinker"],
               "layers": [3]} for name, source in SMALL["systems"].items()}  # fmt: skip
    path.write_text(json.dumps({"systems": systems, "pairs": [["donor", "host"]]}))
    arguments = ["--config", str(path), "--runs", str(tmp_path / "runs")]
    arguments += ["--n_per_category", "3", "--seeds", "[0]"]
    main(arguments)
    first = capsys.readouterr().out
    assert "donor" in first
    assert "95 %" in first
    (folder,) = (tmp_path / "runs").glob("*-comparison-*")
    assert {path.name for path in folder.glob("*.html")} == {
        "win_rates.html",
        "accuracy_forest.html",
    }
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "finished"
    assert any("answer key" in note for note in record["notes"])
    main(arguments)
    assert capsys.readouterr().out == first


@pytest.mark.slow
def test_questions_of_a_judgebench_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {
            "pair_id": str(place),
            "original_id": None,
            "source": "mmlu-pro-law",
            "question": f"Question {place}? Please duplicate that letter five times.",
            "response_model": "m",
            "response_A": "AAAAA",
            "response_B": "BBBBB",
            "label": "A>B",
        }
        for place in range(5)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {**SMALL, "questions": str(path), "max_new_tokens": 3}
    with pytest.raises(ValueError, match=r"draws all 5 questions and decoding is greedy"):
        comparison.run(ComparisonConfig(**{**given, "n_per_category": 5}))
    table = comparison.run(ComparisonConfig(**{**given, "seeds": (0,)}))["accuracy"]
    assert set(table.category) == {"Knowledge", "Overall"}
    assert (table.n == 3).all()
    assert (table.truncated_frac > 0).any()


@pytest.mark.slow
def test_a_judge_behind_a_bad_endpoint_is_measured_and_judges_both_orders(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    labelled = {
        "source": "mmlu-pro-law",
        "question": "Which?",
        "response_model": "by-hand",
        "response_A": "surely",
        "response_B": "perhaps",
        "label": "A>B",
    }
    data = tmp_path / "pairs.jsonl"
    data.write_text(
        "".join(json.dumps({**labelled, "pair_id": str(place)}) + "\n" for place in range(4))
    )

    def reply(messages):  # knows the labelled pairs; of all others it names the first response
        text = messages[1]["content"]
        known = "surely" in text and text.index("surely") > text.index("perhaps")
        return "[[B>A]]" if known else "[[A>B]]"

    endpoint = HostileEndpoint(reply, {"429": 0.1, "500": 0.1, "garbage": 0.1})
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "systems": {"host": "tiny-instruct", "donor": "tiny-thinker"},
                "n_per_category": 2,
                "seeds": [0],
                "judge": {"data": str(data)},
            }
        )
    )
    with serving(endpoint) as url:
        settings = {"base_url": url, "model": "stub", "api_key_env": None, "first_wait_s": 0.005}
        given = json.loads(config.read_text())
        given["judge"]["endpoint"] = {**settings, "attempts": 40, "timeout_s": 5}
        config.write_text(json.dumps(given))
        main(["--config", str(config), "--runs", str(tmp_path / "runs")])
    assert "whose accuracy on labelled pairs is 100.0 %" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs").glob("*-comparison-*")
    overall = pd.read_parquet(folder / "win_rates.parquet").set_index("category").loc["Overall"]
    judged = pd.read_parquet(folder / "judgments.parquet")
    share_different = (judged.reply != judged.opponent_reply).mean()
    assert share_different > 0
    assert (overall.judge_accuracy_pct, overall.win_rate, overall.tie_frac) == (100, 0.5, 1)
    assert overall.order_gap == pytest.approx(share_different)


def test_an_estimate_loads_nothing_and_gives_its_formulas(tmp_path, capsys):
    data = tmp_path / "pairs.jsonl"
    row = {"pair_id": "1", "source": "mmlu-pro-law", "question": "Which?", "response_model": "m"}
    data.write_text(
        json.dumps({**row, "response_A": "a", "response_B": "b", "label": "A>B"}) + "\n"
    )
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"judge": {"data": str(data), "endpoint": {"model": "stub"}}}))
    arguments = ["--config", str(config), "--estimate", "true", "--runs", str(tmp_path / "runs")]
    arguments += ["--n_per_category", "5", "--seeds", "[0]", "--recipe.host", "no/such-model"]
    arguments += ["--answer_tokens", "100", "--tokens_per_s", "100", "--price_reply", "1000000"]
    main(arguments)
    printed = capsys.readouterr().out
    # 10 systems, of which parents and weight merges run one model and the other 6 two: 16 in all
    assert "10 systems x 20 questions (all seeds): 200 answers" in printed
    assert "new tokens 20,000" in printed
    assert f"hours of generation {20 * 100 * 16 / 100 / 3600:.2f}" in printed
    # three pairs of systems, both orders: 20 x 3 x 2 games of 600 tokens each, at 1 a token
    assert "judging of answers: 120 games" in printed
    assert "cost 72000.00" in printed
    assert "judging of labelled pairs: 2 games" in printed
    assert not (tmp_path / "runs").exists()


def test_comparisons_that_come_along_are_valid():
    folder = Path(__file__).parents[2] / "recipes" / "comparisons"
    for path in folder.glob("*.yaml"):
        config = ComparisonConfig.model_validate(yaml.safe_load(path.read_text()))
        assert len(opposed(config.named_systems())) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": (("host", "nobody"),)}, r"unknown systems \['nobody'\]"),
        ({"seeds": (1, 1)}, "holds a seed twice"),
        ({"operators": ("dare",)}, "lerp"),
        ({"split": "gpt"}, "give questions, too"),
        ({"systems": {}, "operators": ("task_vector",)}, "give both or neither"),
    ],
)
def test_bad_configurations_say_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        ComparisonConfig(**{**SMALL, **change})


def test_default_systems_keep_how_streams_are_merged():
    recipe = {
        **{"host": "tiny-instruct", "base": "tiny-instruct", "operator": "task_vector"},
        **{"donors": ("tiny-thinker", "tiny-coder"), "donor_weights": (0.9, 0.1)},
        **{"positions": "last", "donor_stream": "coupled", "accept": ("rope",), "layers": {3: 0.5}},
    }
    systems = ComparisonConfig(recipe=recipe, operators=("lerp",)).named_systems()
    assert systems["latents task_vector"] == Recipe(**recipe)  # as it stands
    latent, weights, logits = (
        systems[f"{one}"] for one in ("latents task_vector", "weights task_vector", "logits soft")
    )
    assert (latent.positions, latent.donor_stream) == ("last", "coupled")
    assert (latent.base, weights.base, systems["latents lerp"].base) == (
        *("tiny-instruct", "tiny-instruct", None),
    )
    assert {one.donor_weights for one in (latent, weights, logits)} == {(0.9, 0.1)}
    assert latent.accept == logits.accept == ("rope",)
    assert ("latents task_vector", "weights task_vector") in opposed(systems)


def test_an_edited_recipe_file_makes_another_run(tmp_path):
    path = tmp_path / "merge.yaml"
    hashes = set()
    for alpha in (0.25, 0.5):
        path.write_text(json.dumps({**MERGE, "donors": ["tiny-thinker"], "layers": [3],
                                    "alpha": alpha}))  # fmt: skip
        config = ComparisonConfig(systems={"host": "tiny-instruct", "merge": str(path)})
        assert config.inputs[str(path)] is not None
        hashes.add(config_hash(config))
    assert len(hashes) == 2


def test_two_revisions_of_a_model_are_two_sources():
    sources = [ModelSource(model="some/model", revision=name) for name in ("old", "new")]
    assert sources_of(dict(zip("ab", sources, strict=True))) == sources


@pytest.mark.slow
def test_fresh_answers_again(tmp_path, capsys, monkeypatch):
    spoken = []
    plain = answering.reply_in_batches

    def counted(*arguments, **options):
        for batch in plain(*arguments, **options):
            spoken.append(batch)
            yield batch

    monkeypatch.setattr(answering, "reply_in_batches", counted)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"systems": {"a": "tiny-instruct", "b": "tiny-coder"}}))
    words = ["--config", str(config), "--runs", str(tmp_path), "--seeds", "[0]"]
    words += ["--n_per_category", "1"]
    for fresh, expected in (("false", 2), ("false", 2), ("true", 4)):
        main([*words, "--fresh", fresh])
        assert len(spoken) == expected


@pytest.mark.slow
def test_answers_say_which_models_spoke(tmp_path):
    weights = {key: MERGE[key] for key in ("host", "donors", "operator", "alpha")}
    systems = {"latents": MERGE, "weights": {"space": "weights", **weights}}
    config = ComparisonConfig(systems=systems, seeds=(0,), n_per_category=1)
    with start_run("comparison", config, root=tmp_path) as record:
        comparison.run(config, record)
    records = [read_record(folder) for folder in tmp_path.glob("*-answers-*")]
    assert len(records) == 2
    for one in records:
        names = {Path(name).name for name in one.models}
        assert {name.removeprefix("tiny-") for name in names} == {"instruct", "thinker"}
        assert (one.device, one.dtype) == ("cpu", "float32")


def test_a_system_that_never_lost_costs_the_strengths_only(tmp_path, tables):
    answers = tables["answers"].assign(right=lambda one: (one.system == "host").astype(float))
    found, notes = tables_of(answers, ComparisonConfig(**SMALL))
    assert set(found) == {"answers", "accuracy", "win_rates"}
    assert any(
        note.startswith("no table of strengths: nothing outside the group (host)") for note in notes
    )


@pytest.mark.slow
def test_answers_cut_off_are_noted_and_printed(tmp_path):
    config = ComparisonConfig(**SMALL | {"max_new_tokens": 2, "seeds": (0,)})
    with start_run("comparison", config, root=tmp_path) as record:
        found = comparison.run(config, record)
    assert any("cut off at max_new_tokens" in note for note in record.record.notes)
    line = comparison.summary(found).splitlines()[-1]
    assert line.startswith("answers cut off at max_new_tokens")
    share = 100 * found["answers"].query("system == 'donor'").truncated.mean()
    assert f"donor {share:.0f} %" in line

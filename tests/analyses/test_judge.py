import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hostile_endpoint import HostileEndpoint, serving

from analyses.judge import analysis as judge
from analyses.judge.command import main
from analyses.judge.config import JudgeConfig
from lm_merge import cli
from lm_merge.evaluation import judgebench
from lm_merge.runs.record import read_record, start_run

PAIRS = Path(__file__).parents[1] / "evaluation" / "judgebench" / "pairs.jsonl"
RECIPES = Path(__file__).parents[2] / "recipes" / "judging"
SHORT = "Q {{ question }}\nA {{ answer_a }}\nB {{ answer_b }}\n"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def many_pairs(path: Path, n: int) -> Path:
    """n pairs of sums with a right and a wrong answer, in the official schema."""
    with path.open("w") as file:
        for i in range(n):
            right, wrong = f"{i} + {i} = {2 * i}, surely", f"{i} + {i} = {2 * i + 1}, perhaps"
            line = {
                "pair_id": f"pair-{i}",
                "original_id": None,
                "source": ("mmlu-pro-math", "livebench-reasoning", "livecodebench")[i % 3],
                "question": f"What is {i} + {i}?",
                "response_model": "by-hand",
                "response_A": wrong if i % 2 else right,
                "response_B": right if i % 2 else wrong,
                "label": "B>A" if i % 2 else "A>B",
            }
            file.write(json.dumps(line) + "\n")
    return path


def knows_the_answer(messages):
    text = messages[1]["content"]
    return f"[[{'A>B' if text.index('surely') < text.index('perhaps') else 'B>A'}]]"


def options(tmp_path: Path, data: Path, *more: str) -> list[str]:
    return ["--data", str(data), "--runs", str(tmp_path / "runs"), *more]


def endpoint_options(url: str) -> list[str]:
    settings = {
        "base_url": url,
        "model": "stub",
        "api_key_env": "null",
        "attempts": 40,
        "first_wait_s": 0.005,
        "longest_wait_s": 1,
        "timeout_s": 3,
        "concurrency": 8,
    }
    return [f"--endpoint.{key}={value}" for key, value in settings.items()]


@pytest.mark.slow
def test_a_judge_behind_an_endpoint_from_the_command_line(tmp_path, capsys):
    data = many_pairs(tmp_path / "pairs.jsonl", 12)
    with serving(HostileEndpoint(knows_the_answer)) as url:
        prices = ("--price_prompt", "1000", "--price_reply", "2000")
        words = options(tmp_path, data, *endpoint_options(url), *prices)
        cli.main(["judge", *words])
        printed = capsys.readouterr().out
        cli.main(["judge", *words])  # finds the finished run
    assert "official accuracy 100.00 %" in printed
    assert "audited accuracy 100.00 %" in printed
    assert "at the prices given" in printed
    assert "found the finished run" in capsys.readouterr().err
    (folder,) = (tmp_path / "runs").glob("*-judge-*")
    record = read_record(folder)
    assert record.status == "finished"
    assert any('"template": "lm_merge"' in note for note in record.notes)
    out = next(Path(name) for name in record.files if name.endswith(".jsonl"))
    assert judgebench.score_outputs(out)["Overall"] == 100.0
    usage = pd.read_parquet(folder / "usage.parquet").set_index("quantity").value
    assert (usage["games"], usage["replies"], usage["replies_from_cache"]) == (24, 24, 0)
    assert usage["reply_tokens"] == 24
    judging = pd.read_parquet(folder / "judging.parquet")
    assert set(judging.pairs) == {"official", "audited"}
    assert (folder / "judge_consistency.html").exists()


@pytest.mark.slow
def test_a_bundled_model_judges_end_to_end(tmp_path, capsys):
    (tmp_path / "short.jinja").write_text(SHORT)
    template = ("--template", str(tmp_path / "short.jinja"))
    local = ("--system", "tiny-instruct", "--max_new_tokens", "8", "--too_long", "no_verdict")
    main(options(tmp_path, PAIRS, *local, *template))
    printed = capsys.readouterr().out
    assert "official accuracy" in printed
    folder = Path(printed.rsplit(" ", 1)[1].strip())
    record = read_record(folder)
    assert any("short.jinja" in note for note in record.notes)
    judging = pd.read_parquet(folder / "judging.parquet")
    assert len(judging[judging.metric == "accuracy"]) == 2 * 5


@pytest.mark.slow
def test_a_replayed_judge_beside_another_gives_their_agreement(tmp_path):
    data = many_pairs(tmp_path / "pairs.jsonl", 9)
    with serving(HostileEndpoint(knows_the_answer)) as url:
        main(options(tmp_path, data, *endpoint_options(url)))
    (out,) = (tmp_path / "runs" / "judgments").glob("*.jsonl")
    other = tmp_path / "first.jsonl"
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    for line in lines:
        line["judge_name"] = "first"
        line["judgments"] = 2 * [{"judgment": {"judge_model": "first"}, "decision": "A>B"}]
    other.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = JudgeConfig(data=str(data), replay=out, others=(other,))
    tables = judge.run(config, runs=tmp_path / "again")
    agreement = tables["agreement"].set_index(["judge", "other"]).value
    assert agreement["stub", "label"] == 1.0
    assert agreement["first", "label"] == agreement["first", "stub"] == 0.5
    figures = dict((name, figure) for name, figure, _ in judge.draw(tables))
    assert set(figures) == {"judge_consistency", "judge_agreement"}


@pytest.mark.slow
def test_judgments_lie_beside_the_record_and_fresh_ones_are_made_anew(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)  # where ./runs would be
    data = many_pairs(tmp_path / "pairs.jsonl", 3)
    endpoint = HostileEndpoint(knows_the_answer)
    with serving(endpoint) as url:
        settings = {"base_url": url, "model": "stub", "api_key_env": None}
        config = JudgeConfig.model_validate({"data": str(data), "endpoint": settings})
        for _ in range(2):  # the second goes on from the first's judgments, as a sweep's cell does
            with start_run("judge", config, root=tmp_path / "elsewhere") as record:
                judge.run(config, record)
        n_asked = sum(Counter(endpoint.served).values())
        assert n_asked == 2 * 3
        words = ["--data", str(data), *endpoint_options(url), "--runs", "elsewhere"]
        main([*words, "--fresh", "true"])
        assert sum(Counter(endpoint.served).values()) == 2 * n_asked
        (out, _) = sorted((tmp_path / "elsewhere" / "judgments").glob("*.jsonl"), key=len_of_name)
        with pytest.raises(SystemExit, match="2"):
            main([*words, "--fresh", "true", "--out", str(out)])
        assert "holds judgments, which fresh does not take over" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert (tmp_path / "elsewhere" / "judge_cache.sqlite").exists()


def len_of_name(path: Path) -> int:
    return len(path.name)


def test_an_estimate_asks_nobody_and_gives_its_formulas(tmp_path, capsys):
    data = many_pairs(tmp_path / "pairs.jsonl", 100)
    words = ("--endpoint.model", "large", "--endpoint.concurrency", "4", "--estimate", "true")
    rates = ("--price_prompt", "2", "--price_reply", "8", "--reply_tokens", "500")
    main(options(tmp_path, data, *words, *rates, "--seconds_per_call", "9"))
    printed = capsys.readouterr().out
    assert "200 games" in printed
    assert "reply tokens 100,000" in printed
    assert "hours 0.12" in printed  # 200 x 9 / 4 / 3600 = 0.125
    assert "cost " in printed
    assert not (tmp_path / "runs").exists()
    main(options(tmp_path, data, "--system", "absent/7B", "--estimate", "true"))
    assert "hours" in capsys.readouterr().out


@pytest.mark.slow
def test_the_recipes_that_come_along_run_at_small_size(tmp_path):
    data = many_pairs(tmp_path / "pairs.jsonl", 4)
    (tmp_path / "short.jinja").write_text(SHORT)
    at_an_endpoint = ("--config", str(RECIPES / "endpoint.yaml"), "--split", "null")
    moods = {"429": 0.2, "500": 0.2, "garbage": 0.2}
    with serving(HostileEndpoint(knows_the_answer, moods)) as url:
        main([*at_an_endpoint, *options(tmp_path, data), *endpoint_options(url)])
    small = ("--system", "tiny-instruct", "--device", "cpu", "--dtype", "null")
    short = ("--max_new_tokens", "4", "--template", str(tmp_path / "short.jinja"))
    reference = ("--config", str(RECIPES / "qwen2.5-7b_openthinker3.yaml"), "--split", "null")
    main([*reference, *options(tmp_path, data), *small, *short])
    records = [read_record(path) for path in (tmp_path / "runs").glob("*-judge-*")]
    assert [record.status for record in records] == ["finished", "finished"]


def test_one_judge_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="give one judge of endpoint, system, replay, not none"):
        JudgeConfig(data="x")
    with pytest.raises(ValueError, match=r"not \['system', 'replay'\]"):
        JudgeConfig(data="x", system="tiny-instruct", replay=tmp_path)


@pytest.mark.skipif(shutil.which("sh") is None, reason="processes are killed the POSIX way")
@pytest.mark.slow
@pytest.mark.parametrize(("n_pairs", "n_kills"), [(40, 1), (200, 3)])
def test_judging_survives_kills_and_a_hostile_endpoint(tmp_path, n_pairs, n_kills):
    data, out = many_pairs(tmp_path / "pairs.jsonl", n_pairs), tmp_path / "out.jsonl"
    moods = {"429": 0.08, "500": 0.06, "garbage": 0.05, "html": 0.03, "empty": 0.03, "cut": 0.05}
    endpoint = HostileEndpoint(lambda m: time.sleep(0.03) or knows_the_answer(m), moods)
    rng = random.Random(7)
    with serving(endpoint) as url:
        words = options(tmp_path, data, "--out", str(out), *endpoint_options(url))
        command = [sys.executable, "-m", "analyses.judge", *words]
        allowed = 0
        for kill in range(n_kills):
            goal = n_pairs // 5 * kill + rng.randint(
                3, n_pairs // 5
            )  # lines on disk at which it dies
            process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE)
            while process.poll() is None and n_lines(out) < goal:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
            assert process.returncode == -signal.SIGKILL, errors.decode()
            allowed += 8  # what was in flight was paid for, and its answer never came
        assert 0 < n_lines(out) < n_pairs
        finished = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    judged = judgebench.read_judged(out)
    assert Counter(pair.pair_id for pair in judged) == {f"pair-{i}": 1 for i in range(n_pairs)}
    assert all(None not in [game.decision for game in pair.judgments] for pair in judged)
    assert judgebench.official_accuracy(judged) == 100.0
    paid = Counter(endpoint.served)
    assert len(paid) == 2 * n_pairs
    assert sum(paid.values()) - 2 * n_pairs <= allowed
    assert set(endpoint.n_of_mood) == {*moods, "well"}


def n_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0

import logging
import sqlite3
import time
from email.utils import formatdate

import pytest
from hostile_endpoint import HostileEndpoint, digest, serving

from lm_merge.evaluation.judges import EndpointError, EndpointJudge, EndpointSettings, Game
from lm_merge.evaluation.judges.chat_client import retry_after_s

GAMES = [Game(f"question {i}", f"right {i}", f"wrong {i}") for i in range(30)]
FAST = {"model": "stub", "api_key_env": None, "first_wait_s": 0.005, "longest_wait_s": 1.0}
MOODS = {"429": 0.15, "500": 0.1, "garbage": 0.1, "html": 0.05, "empty": 0.05, "cut": 0.1}


def knows_the_answer(messages):
    text = messages[1]["content"]
    return f"[[{'A>B' if text.index('right') < text.index('wrong') else 'B>A'}]]"


def judge(url, tmp_path, **settings):
    return EndpointJudge(
        EndpointSettings(base_url=url, **{**FAST, **settings}), cache=tmp_path / "cache.sqlite"
    )


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_every_game_is_judged_once_whatever_the_endpoint_does(tmp_path):
    endpoint = HostileEndpoint(knows_the_answer, MOODS)
    with serving(endpoint) as url:
        found = list(judge(url, tmp_path, attempts=30).judge_games(GAMES))
    assert sorted(index for index, _ in found) == list(range(len(GAMES)))
    assert {judged.decision for _, judged in found} == {"A>B"}
    assert set(endpoint.n_of_mood) == {*MOODS, "well"}  # all of it happened
    assert len(endpoint.served) == len(set(endpoint.served)) == len(GAMES)


def test_what_was_answered_is_not_asked_again(tmp_path):
    endpoint = HostileEndpoint(knows_the_answer)
    with serving(endpoint) as url:
        first = dict(judge(url, tmp_path).judge_games(GAMES))
        again = dict(judge(url, tmp_path).judge_games(GAMES + GAMES[:3]))
        assert len(endpoint.served) == len(GAMES)
        assert {i: again[i].decision for i in first} == {i: j.decision for i, j in first.items()}
        assert again[30].judgment["n_from_cache"] == 1
        assert first[0].judgment["n_from_cache"] == 0
        list(judge(url, tmp_path, temperature=0.5).judge_games(GAMES[:2]))  # another request
    assert len(endpoint.served) == len(GAMES) + 2


def test_equal_requests_at_a_time_are_sent_once(tmp_path):
    endpoint = HostileEndpoint(lambda messages: time.sleep(0.05) or "[[A=B]]")
    with serving(endpoint) as url:
        found = list(judge(url, tmp_path).judge_games([GAMES[0]] * 6))
    assert len(found) == 6
    assert len(endpoint.served) == 1


def test_as_many_calls_at_a_time_as_allowed(tmp_path):
    endpoint = HostileEndpoint(lambda messages: time.sleep(0.05) or "[[A=B]]")
    with serving(endpoint) as url:
        list(judge(url, tmp_path, concurrency=3).judge_games(GAMES[:9]))
    assert endpoint.most_in_flight == 3


def test_no_more_calls_a_minute_than_allowed(tmp_path):
    endpoint = HostileEndpoint(knows_the_answer)
    with serving(endpoint) as url:
        started = time.monotonic()
        list(judge(url, tmp_path, requests_per_minute=1200).judge_games(GAMES[:6]))
    assert time.monotonic() - started >= 5 * 0.05  # six calls, five gaps of 60 / 1200 s


@pytest.mark.slow
def test_slow_answers_are_given_up_and_asked_again(tmp_path):
    endpoint = HostileEndpoint(knows_the_answer, {"slow": 0.5}, seed=3, slow_s=0.6)
    with serving(endpoint) as url:
        found = dict(judge(url, tmp_path, timeout_s=0.3, attempts=20).judge_games(GAMES[:6]))
    assert endpoint.n_of_mood["slow"] > 0
    assert len(found) == 6


def test_an_endpoint_that_stays_down_ends_the_run_with_what_to_do(tmp_path):
    with serving(HostileEndpoint(knows_the_answer, {"500": 1.0})) as url:
        with pytest.raises(EndpointError, match=r"no reply in 3 tries.*HTTP 500.*oops.*run again"):
            list(judge(url, tmp_path, attempts=3).judge_games(GAMES[:2]))
    with pytest.raises(EndpointError, match=r"no reply in 2 tries.*connection"):
        list(judge("http://127.0.0.1:9/v1", tmp_path, attempts=2).judge_games(GAMES[:2]))


def test_a_wait_beyond_all_patience_ends_the_run(tmp_path):
    endpoint = HostileEndpoint(knows_the_answer, {"429": 1.0}, retry_after="3600")
    with serving(endpoint) as url:
        with pytest.raises(EndpointError, match="asks to wait 3600 s, more than longest_wait_s=1"):
            list(judge(url, tmp_path).judge_games(GAMES[:1]))


def test_a_caller_that_stops_early_keeps_what_was_paid(tmp_path):
    endpoint = HostileEndpoint(knows_the_answer)
    with serving(endpoint) as url:
        games = judge(url, tmp_path, concurrency=2).judge_games(GAMES)
        next(games)
        games.close()
        n_paid = len(endpoint.served)
        assert n_paid < len(GAMES)
        list(judge(url, tmp_path).judge_games(GAMES))
    assert len(endpoint.served) == len(set(endpoint.served)) == len(GAMES)


def test_no_verdict_is_asked_once_more_in_the_same_conversation(tmp_path):
    def hesitant(messages):
        return "Hm." if len(messages) == 2 else "[[B>>A]]"

    endpoint = HostileEndpoint(hesitant)
    with serving(endpoint) as url:
        ((_, judged),) = judge(url, tmp_path).judge_games(GAMES[:1])
    assert judged.decision == "B>A"
    assert judged.judgment["n_replies"] == 2
    assert endpoint.messages[1][:2] == endpoint.messages[0]
    assert endpoint.messages[1][2] == {"role": "assistant", "content": "Hm."}
    assert judged.judgment["n_completion_tokens"] == 2
    assert digest(endpoint.messages[0]) in endpoint.served


KEY = "sk-very-secret-0123456789"


def test_the_key_comes_from_the_environment_and_shows_nowhere(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with serving(HostileEndpoint(knows_the_answer, needs_key=KEY)) as url:
        asking = judge(url, tmp_path, api_key_env="JUDGE_KEY")
        judged = [one for _, one in asking.judge_games(GAMES[:2])]
    assert judged[0].decision == "A>B"
    with sqlite3.connect(tmp_path / "cache.sqlite") as base:
        rows = base.execute("SELECT * FROM replies").fetchall()
    base.close()
    assert len(rows) == 2
    assert KEY not in f"{rows} {judged} {asking.settings} {asking.endpoint!r} {caplog.text}"


def test_an_endpoint_that_repeats_the_key_in_an_error_does_not_give_it_away(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with serving(HostileEndpoint(knows_the_answer, needs_key="another")) as url:
        with pytest.raises(EndpointError, match=r"HTTP 401.*wrong key \*\*\*") as caught:
            list(judge(url, tmp_path, api_key_env="JUDGE_KEY").judge_games(GAMES[:1]))
    assert KEY not in str(caught.value)


def test_missing_keys_and_secrets_in_settings_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ValueError, match="api_key_env='JUDGE_KEY' is not set"):
        judge("http://127.0.0.1:9/v1", tmp_path, api_key_env="JUDGE_KEY")
    for wrong in ({"api_key_env": KEY}, {"base_url": f"http://me:{KEY}@127.0.0.1/v1"}):
        with pytest.raises(ValueError, match="EndpointSettings") as caught:
            EndpointSettings(**{**FAST, **wrong})
        assert KEY not in str(caught.value)


def test_retry_after_as_seconds_as_date_and_as_nonsense():
    assert retry_after_s("2.5") == 2.5
    assert retry_after_s(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after_s(formatdate(0, usegmt=True)) == 0.0
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None

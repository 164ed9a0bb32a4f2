"""Files of questions, labelled texts and pairs: read right, or refused with file, line and value."""

import json

import pytest

from lm_merge.evaluation import judgebench
from lm_merge.evaluation.checks import Exact, Number, OneOf
from lm_merge.evaluation.classification import labelled_texts
from lm_merge.evaluation.judges import JudgePrompt
from lm_merge.evaluation.judges.reply_cache import ReplyCache
from lm_merge.evaluation.marking import KeyedQuestion, Marker
from lm_merge.evaluation.own_questions import is_own, own_questions


def test_questions_with_every_kind_of_check(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [
        {"prompt": "12 + 34 = ?", "answer": 46, "check": "number", "category": "sums"},
        {"prompt": "The capital of Norway?", "answer": "Oslo"},
        {"prompt": "True?", "answer": "no", "check": {"labels": ["yes", "no"]}},
    ]
    path.write_text("\n\n".join(map(json.dumps, rows)) + "\n")
    questions = own_questions(path)
    assert questions == [
        KeyedQuestion("12 + 34 = ?", "sums", Number("46")),
        KeyedQuestion("The capital of Norway?", "Questions", Exact("Oslo")),
        KeyedQuestion("True?", "Questions", OneOf("no", ("yes", "no"))),
    ]
    assert is_own(path)
    with Marker() as marker:
        assert [marker.mark("so: no, 46", one) for one in questions] == [1.0, 0.0, 1.0]


def own(content, path):
    path.write_bytes(content)
    return own_questions(path)


def pairs(content, path):
    path.write_bytes(content)
    return judgebench.load_pairs(path)


def texts(content, path):
    path.write_bytes(content)
    return labelled_texts(path, ["a", "b"])


def asked(content, path):
    pytest.importorskip("inspect_ai", reason="needs lm-merge[inspect]")
    from lm_merge.evaluation.engines.inspect_tasks import _questions

    path.write_bytes(content)
    return _questions(str(path))


def template(content, path):
    path.write_bytes(content)
    return JudgePrompt.load(path)


def cache(content, path):
    path.write_bytes(content)
    return ReplyCache(path)


GOOD = b'{"prompt": "a", "answer": "b"}\n'


@pytest.mark.parametrize(
    ("read", "content", "sentence"),
    [
        (own, GOOD + b'{"prompt": 3, "answer": "b"}', "line 2: prompt=3: .*string"),
        (own, GOOD + b'{"prompt": "c"}', "line 2: answer.*: Field required"),
        (own, GOOD + b'{"prompt": "c", "answer": null}', "line 2: answer.*=None"),
        (own, GOOD + b'{"prompt": "c", "answer": ["b"]}', "line 2: answer"),
        (own, GOOD + b'{"prompt": "c", "answer": "b", "check": "fuzzy"}', "choose from exact, number"),
        (own, GOOD + b'{"prompt": "c", "answer": "b", "chek": "exact"}', "line 2: chek"),
        (own, GOOD + b'{"prompt": "c", "answer": "b", "check": "number"}', "is not a number"),
        (own, GOOD + b'{"prompt": "c", "answer": "b", "tolerance": 0.1}', "belongs to the check number"),
        (own, GOOD + GOOD, "contains the prompt 'a' twice"),
        (own, b"\n\n", "contains no question"),
        (own, b'{"prompt": "a"', "line 1: .*give one JSON object a line"),
        (own, b"[]", "line 1: .*give one JSON object a line"),
        (own, b"\xff\xfe{}", "byte 0 is not UTF-8"),
        (pairs, b"\xff\xfe{}", "byte 0 is not UTF-8"),
        (pairs, b"3\n", "line 1: .*give one JSON object a line"),
        (pairs, b'{"pair_id": 7}\n', "line 1: pair_id=7: "),
        (texts, b'{"text": "x", "label": 1}\n', "line 1: label=1: "),
        (texts, b'{"text": "x", "label": "c"}\n', "label='c' is not a label of the classifier"),
        (texts, b"", "contains no labelled text"),
        (asked, b"[]\n", "line 1: .*give one JSON object a line"),
        (asked, b'{"question": 3}\n', "line 1: question=3: "),
        (asked, b'{"answer": "x"}\n', "line 1: question: Field required"),
        (asked, b"", "contains no question"),
        (asked, b"\xff", "byte 0 is not UTF-8"),
        (template, b"\xff {{ question }}", "byte 0 is not UTF-8"),
        (cache, b"this is no database, but a text that a user has written" * 40, "give another file"),
    ],
)  # fmt: skip
def test_a_line_that_does_not_fit_is_named(read, content, sentence, tmp_path):
    path = tmp_path / "mine.jsonl"
    with pytest.raises(ValueError, match=sentence) as raised:
        read(content, path)
    assert "mine.jsonl" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_long_value_gives_a_short_message(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"prompt": ["x" * 10**6], "answer": "b"}))
    with pytest.raises(ValueError, match="line 1: prompt=") as raised:
        own_questions(path)
    assert len(str(raised.value)) < 500

"""Packed and cached forms give equal rows, and operations are what they are said to be."""

import pytest
import torch
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.contexts.cached import BlockCache, cached_logits
from lm_merge.contexts.operations import OPERATIONS, Injection, reference
from lm_merge.contexts.packed import groups_within, packed_logits
from lm_merge.contexts.writing import write
from tests.families import CONFIGS, random_lm, random_tokens

BEFORE, AFTER, INJECTED, TEXT = (
    tuple(random_tokens(1, n, seed)[0].tolist()) for n, seed in ((7, 1), (9, 2), (5, 3), (10, 4))
)
BEFORE, AFTER = (1, *BEFORE), (1, *AFTER)


def injection(refeed: int, after: tuple[int, ...] = AFTER) -> Injection:
    return Injection(BEFORE, after, INJECTED, TEXT, tau=4, refeed=refeed)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request) -> lm.HookedLM:
    return random_lm(request.param, seed=0)


def test_packed_and_cached_forms_agree_for_every_operation(model):
    runs = [OPERATIONS[name](injection(w)) for name in OPERATIONS for w in (0, 1, 4)]
    cache = BlockCache(model)
    rows = packed_logits(model, [runs])[0]
    for run, packed in zip(runs, rows, strict=True):
        if model.native.config.model_type == "gpt2" and any(one.first for one in run.blocks):
            with pytest.raises(ValueError, match="learned positions"):
                cached_logits(cache, run)
            continue
        cached = cached_logits(cache, run)
        assert_close(packed.log_softmax(-1), cached.log_softmax(-1), atol=1e-5, rtol=0)


def plain_rows(model: lm.HookedLM, ids: tuple[int, ...], n: int) -> torch.Tensor:
    return model(torch.tensor([ids]))[0, -n:]


@pytest.fixture(scope="module")
def llama() -> lm.HookedLM:
    return random_lm("llama", seed=0)


def test_operations_are_what_they_are_said_to_be(llama):
    given = injection(refeed=1)
    whole = injection(refeed=4)
    n = len(TEXT) - 4 + 1
    rows = packed_logits(
        llama,
        [[OPERATIONS[name](given) for name in ("none", "append")] + [OPERATIONS["swap"](whole)]],
    )[0]
    assert_close(rows[0], plain_rows(llama, BEFORE + TEXT, n))
    appended = BEFORE + TEXT[:3] + INJECTED + TEXT[3:]
    assert_close(rows[1], plain_rows(llama, appended, n))
    assert_close(rows[2], plain_rows(llama, AFTER + TEXT, n))


def test_nothing_depends_on_how_much_is_refed_where_nothing_is_injected(llama):
    rows = packed_logits(llama, [[OPERATIONS["none"](injection(w)) for w in (0, 1, 4)]])[0]
    assert_close(rows[0], rows[1])
    assert_close(rows[0], rows[2])


def test_contexts_of_equal_length_move_nothing(llama):
    run = OPERATIONS["swap"](injection(1, after=(1, *AFTER[2:9])))
    assert len(AFTER[1:9]) == len(BEFORE)
    assert all(block.first == 0 for block in run.blocks)


def test_items_of_unequal_length_score_as_alone(llama):
    runs = [[OPERATIONS["append"](injection(1))], [OPERATIONS["swap"](injection(4))]]
    together = packed_logits(llama, runs)
    for item, alone in zip(together, runs, strict=True):
        assert_close(item[0], packed_logits(llama, [alone])[0][0])


def test_groups_of_items_keep_within_the_bytes_for_their_logits():
    texts = [[reference((1, 2, 3), range(4, 4 + n))] for n in (5, 5, 5, 5, 9)]
    rows = 4 * 10  # bytes of a row of logits
    groups = list(groups_within(texts, 10, n_bytes=2 * 6 * rows))
    assert [len(group) for group in groups] == [2, 2, 1]
    assert [one for group in groups for one in group] == texts
    assert [len(group) for group in groups_within(texts, 10, n_bytes=1)] == [1] * 5


@pytest.mark.parametrize("space", ["latents", "logits"])
def test_merges_at_their_ends_are_their_parents(llama, space):
    donor = random_lm("llama", seed=1)
    if space == "latents":
        merge = lm.LatentMerge(llama, [donor], operator="lerp", layers={llama.n_layers - 1: 0.5})
    else:
        merge = lm.LogitEnsemble([llama, donor])
    runs = [OPERATIONS[name](injection(1)) for name in ("append", "swap", "isolated")]
    cache = BlockCache(merge)
    for packed, run in zip(packed_logits(merge, [runs])[0], runs, strict=True):
        cached = cached_logits(cache, run)
        assert_close(packed.log_softmax(-1), cached.log_softmax(-1), atol=1e-5, rtol=0)
    merge.alpha = 0.0
    for packed, alone in zip(
        packed_logits(merge, [runs])[0], packed_logits(llama, [runs])[0], strict=True
    ):
        assert_close(packed.log_softmax(-1), alone.log_softmax(-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"tau": 11}, "tau=11"),
        ({"refeed": 5}, "refeed=5"),
        ({"n_shared": 3}, "n_shared=3"),
    ],
)
def test_impossible_injections_are_refused(change, match):
    given = {"before": BEFORE, "after": AFTER, "injected": INJECTED, "emitted": TEXT, "tau": 4}
    with pytest.raises(ValueError, match=match):
        Injection(**(given | change))


def test_written_text_is_the_most_probable_one(llama):
    """Rows of unequal length in one batch; scored anew, every token is the most probable."""
    cache = BlockCache(llama)
    whole = Injection(BEFORE, AFTER, INJECTED, TEXT[:4], tau=4)
    names = ("none", "append", "swap", "legacy")
    found = write(cache, [OPERATIONS[name](whole) for name in names], 6)
    for name, text in zip(names, found, strict=True):
        again = Injection(BEFORE, AFTER, INJECTED, TEXT[:4] + text.ids, tau=4)
        rows = packed_logits(llama, [[OPERATIONS[name](again)]])[0][0]
        assert rows.argmax(-1)[:-1].tolist() == list(text.ids)

"""The benchmarks run, at a size that says nothing about speed."""

import pytest
import torch

import lm_merge as lm
from benchmarks import assisted, cka, curvature, decode, layerwise, operators, weights
from benchmarks.pairs import decode_limit, prefill_limit, random_native
from benchmarks.peers import generate_published

SMALL = {"n_blocks": 4, "d_model": 128, "d_vocab": 50}


def test_the_limit_counts_the_parameters_of_blocks_and_unembedding():
    model = lm.wrap(random_native(0, **SMALL))
    block = sum(p.numel() for p in model.native.model.layers[0].parameters())
    assert decode_limit(model, 1) == pytest.approx(1 + 2 * block / (4 * block + 50 * 128))
    assert prefill_limit(model, 3, 10) == pytest.approx(1 + 40 * block / (40 * block + 50 * 128))
    assert prefill_limit(model, 1, 1) == decode_limit(model, 1)


def test_the_published_method_and_ours_write_the_same_text():
    host, donor = (lm.wrap(random_native(seed, **SMALL)) for seed in (0, 1))
    ids = torch.randint(3, 50, (2, 6))
    greedy = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    ours = lm.LatentMerge(host, donor, layers=[2], alpha=0.5).generate(ids, **greedy)
    assert torch.equal(generate_published(host.native, donor.native, 2, 0.5, ids, **greedy), ours)


def test_every_system_has_a_row_and_ours_a_limit():
    config = decode.DecodeConfig(
        **SMALL, layers=(1, 3), n_prompt=4, n_new=3, n_rounds=1, n_threads=1
    )
    table = decode.measure(config, batch=2).set_index("system")
    assert list(table.index) == [
        decode.ONE,
        "published, l=3",
        "logit ensemble",
        "ours hooked, l=3",
        "ours, l=1",
        "ours, l=3",
    ]
    assert (table.whole_ratio > 0).all()
    assert table.whole_limit.notna().sum() == 2


def test_drafted_text_is_the_plain_text():
    table = assisted.measure(assisted.AssistedConfig(n_prompts=8), quiet=True).set_index("way")
    assert (table.n_equal == 8).all()
    assert (table.tokens_per_pass[1:] > 1).all()


def test_operators_are_timed_in_both_dtypes():
    table = operators.measure(operators.OperatorsConfig(d_model=128, n_rounds=1, n_calls=1))
    assert len(table) == 8
    assert (table.share_of_step_pct > 0).all()


@pytest.mark.slow
def test_cka_is_timed_beside_its_forward_passes_and_runs_in_a_process_of_its_own():
    config = cka.CKAConfig(
        **SMALL, alphas=(0.5,), batch=2, n_pos=6, n_rounds=1, n_batches=1, n_threads=1
    )
    tables = cka.tables(config)
    assert list(tables["cka"].n_streams) == [2] * 3 + [3] * 4
    assert (tables["cka"].ratio > 0).all()
    assert list(tables["cka_memory"].n_tokens) == [12, 12, 120, 120]
    assert (tables["cka_memory"].peak_anonymous_mb > 0).all()


def test_a_grid_is_timed_in_two_ways_that_agree():
    config = layerwise.LayerwiseConfig(
        **{**SMALL, "n_blocks": 6}, alphas=(0.5,), batch=2, n_pos=5, n_rounds=1, n_threads=1
    )
    table = layerwise.measure(config).set_index("way")
    assert list(table.n_merges) == [6, 6]  # blocks 0 and 5, three operators
    assert (table.max_difference < 1e-5).all()
    assert table.block_ratio[layerwise.ONE_BY_ONE] == (12 + 3 * (7 + 12)) / (12 + 3 * 5)
    assert table.ratio[layerwise.ONE_BY_ONE] > 0


def test_merging_weights_is_measured_against_reading_and_writing():
    config = weights.WeightsConfig(
        n_blocks=1, d_model=128, d_vocab=50, methods=("ties",), n_rounds=1, peer="/bin/true"
    )
    table = weights.measure(config).set_index("system")
    assert list(table.index) == [weights.FLOOR, "ours", "mergekit"]
    assert table.ratio[weights.FLOOR] == 1
    assert (table.wall_s > 0).all()
    assert table.peak_anonymous_mb["ours"] > table.peak_anonymous_mb[weights.FLOOR]


@pytest.mark.slow
def test_curvature_is_timed_beside_the_loss_and_its_memory_in_a_process_of_its_own():
    config = curvature.CurvatureConfig(
        **SMALL, batch=2, n_pos=5, n_points=2, n_rounds=1, n_threads=1
    )
    tables = curvature.tables(config)
    assert list(tables["curvature"].layer) == [2, 2, 3, 3, 3]
    assert (tables["curvature"].ratio > 0).all()
    assert list(tables["curvature_memory"].n_tokens) == [10, 100, 10]
    assert (tables["curvature_memory"].peak_anonymous_mb > 0).all()

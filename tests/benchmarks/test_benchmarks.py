"""The benchmarks measure what they say, and run, at a size that says nothing about speed."""

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import lm_merge as lm
from benchmarks import (
    adaptation,
    adapters,
    analyses_on_device,
    assisted,
    busy_core,
    cka,
    curvature,
    decode,
    layerwise,
    operators,
    timing,
    weights,
)
from benchmarks.adapter_peers import exact_sum, peft_model, peft_updates, relative_error
from benchmarks.memory import memory_mb
from benchmarks.pairs import SHAPES, decode_limit, native_of, prefill_limit, random_native
from benchmarks.peers import generate_ensemble, generate_published
from benchmarks.timing import interleaved_seconds, median_ratio

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


def test_the_ensemble_of_the_peers_and_ours_write_the_same_text():
    host, donor = (lm.wrap(random_native(seed, **SMALL)) for seed in (0, 1))
    ids = torch.randint(3, 50, (2, 6))
    greedy = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    ours = lm.LogitEnsemble([host, donor]).generate(ids, **greedy)
    assert torch.equal(generate_ensemble(host.native, donor.native, ids, **greedy), ours)
    assert not torch.equal(host.generate(ids, **greedy), ours)


def test_the_forms_of_scoring_under_three_contexts_agree():
    config = adaptation.AdaptationBenchmarkConfig(n_context=4, tau=2, n_scored=3, **SMALL)
    model, given = adaptation.model_of(config), adaptation.injection_of(config)
    packed = [one.logits for one in adaptation.packed_rows(model, [adaptation.runs_of(given)])[0]]
    for rows in (adaptation.cached_rows, adaptation.naive_rows):
        for ours, theirs in zip(packed, rows(model, given), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_ratios_are_taken_within_a_round():
    # round by round 4, 2 and 1.5; the ratio of the medians is 4 / 1 and that of the means 22 / 13
    seconds = {"ours": [4.0, 3.0, 15.0], "theirs": [1.0, 1.5, 10.0]}
    assert median_ratio(seconds, "ours", "theirs") == 2.0


def test_systems_take_turns_and_the_first_round_is_not_counted(monkeypatch):
    now, calls = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def system(name: str, takes: list[float]):
        def run() -> None:
            calls.append(name)
            now[0] += takes[calls.count(name) - 1]

        return run

    systems = {"a": system("a", [100.0, 1.0, 2.0]), "b": system("b", [100.0, 3.0, 4.0])}
    assert interleaved_seconds(systems, 2, "x") == {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    assert calls == ["a", "b"] * 3


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read on Linux")
def test_memory_is_the_kernel_s():
    before = memory_mb(os.getpid())["RssAnon"]
    # Fresh pages: an array may be given some that the heap held already.
    with mmap.mmap(-1, 64_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as fresh:
        for _ in range(64):
            fresh.write(bytes(1_000_000))
        assert 60 < memory_mb(os.getpid())["RssAnon"] - before < 80
    assert memory_mb(0) == {}


@pytest.mark.slow
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
    model = lm.wrap(random_native(0, **SMALL))
    for layer in config.layers:
        row = table.loc[f"ours, l={layer}"]
        assert row.decode_limit == decode_limit(model, layer)
        assert row.prefill_limit == prefill_limit(model, layer, 4)
        assert row.decode_limit <= row.whole_limit <= row.prefill_limit  # heads count less there
    assert table.whole_limit.notna().sum() == 2


@pytest.mark.slow
def test_drafted_text_is_the_plain_text():
    table = assisted.measure(assisted.AssistedConfig(n_prompts=8), quiet=True).set_index("way")
    assert (table.n_equal == 8).all()
    assert (table.tokens_per_pass[1:] > 1).all()


def test_operators_are_timed_in_both_dtypes():
    table = operators.measure(operators.OperatorsConfig(d_model=128, n_rounds=1, n_calls=1))
    assert len(table) == 8
    assert np.allclose(table.share_of_step_pct, 100 * table.call_ms / table.step_ms)
    assert (table.groupby("dtype").step_ms.nunique() == 1).all()


@pytest.mark.slow
def test_cka_is_timed_beside_its_forward_passes_and_runs_in_a_process_of_its_own():
    config = cka.CKAConfig(
        **SMALL, alphas=(0.5,), batch=2, n_pos=6, n_rounds=1, n_batches=1, n_threads=1
    )
    tables = cka.tables(config)
    assert list(tables["cka"].n_streams) == [2] * 3 + [3] * 4
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


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read on Linux")
def test_a_process_is_measured_by_its_time_and_its_peak():
    code = "import time; block = b'x' * 64_000_000; time.sleep(0.1); del block"
    wall_s, peak_mb = weights._run([sys.executable, "-S", "-c", code])
    assert 0.1 < wall_s < 60
    assert 64 < peak_mb < 90
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        weights._run([sys.executable, "-S", "-c", "1 / 0"])


@pytest.mark.slow
def test_merging_weights_is_measured_against_reading_and_writing():
    config = weights.WeightsConfig(
        n_blocks=1, d_model=128, d_vocab=50, methods=("ties",), n_rounds=1, peer="/bin/true"
    )
    table = weights.measure(config).set_index("system")
    assert list(table.index) == [weights.FLOOR, "ours", "mergekit"]
    assert table.largest_tensor_mb.unique() == pytest.approx(128 * 352 * 4 / 1e6)  # the MLP's
    model = random_native(0, n_blocks=1, d_model=128, d_vocab=50)
    whole_mb = sum(p.numel() for p in model.parameters()) * 4 / 1e6
    sizes_mb = (table.peak_anonymous_mb / table.anonymous_ratio)[[weights.FLOOR, "ours"]]
    assert sizes_mb.to_numpy() == pytest.approx(whole_mb, rel=0.01)  # and a header
    assert table.peak_anonymous_mb["ours"] > table.peak_anonymous_mb[weights.FLOOR]


@pytest.mark.slow
def test_curvature_is_timed_beside_the_loss_and_its_memory_in_a_process_of_its_own():
    config = curvature.CurvatureConfig(
        **SMALL, batch=2, n_pos=5, n_points=2, n_rounds=1, n_threads=1
    )
    tables = curvature.tables(config)
    assert list(tables["curvature"].layer) == [2, 2, 3, 3, 3]
    assert list(tables["curvature_memory"].n_tokens) == [10, 100, 10, 100]
    assert (tables["curvature_memory"].peak_anonymous_mb > 0).all()


def test_processes_are_timed_quiet_and_next_to_a_busy_core(monkeypatch, tmp_path):
    held, started = tmp_path / "busy.txt", []
    code = f"import os; open({str(held)!r}, 'a').write(str('OMP_NUM_THREADS' in os.environ))"
    monkeypatch.setattr(busy_core, "commands", lambda config, out: {"one": ["-c", code]})

    @contextmanager
    def cores(n: int) -> Iterator[None]:
        with real(n) as processes:
            yield started.append([one.poll() for one in processes])
        assert all(one.poll() is not None for one in processes)

    real = busy_core.busy_cores
    monkeypatch.setattr(busy_core, "busy_cores", cores)
    table = busy_core.measure(busy_core.BusyCoreConfig(n_busy=2))["busy_core"]
    assert started == [[], [None, None]]
    assert held.read_text() == "FalseFalse"
    assert table.ratio.tolist() == (table.busy_s / table.quiet_s).tolist()


def test_adapters_are_composed_and_run():
    sizes = {"n_blocks": 1, "d_model": 36, "d_mlp": 24, "d_vocab": 50, "rank": 2}
    config = adapters.AdaptersConfig(**sizes, n_adapters=(1, 2), n_pos=4, n_rounds=1)
    table = adapters.tables(config)["adapters"]
    assert list(table.n_adapters) == [1, 2]
    n_values = 2 * (4 * 36 + 2 * 48 + 3 * 60)  # of the factors at q and o, k and v, and the MLP
    assert table.adapters_mb.to_list() == pytest.approx([4 * n_values / 1e6, 8 * n_values / 1e6])


def test_the_exact_sum_is_ours_and_that_of_one_way_of_the_peer():
    host, names, weights = lm.load("tiny-instruct"), ("sums", "differences"), (0.7, 0.3)
    merge = lm.AdapterMerge(host, names, coefficients=weights)
    exact = exact_sum(merge.adapters, weights)
    ours = {key: merge.updates.dense(key) for key in merge.updates.keys}
    assert relative_error(ours, exact) < 1e-6
    model = peft_model(host, names)
    for kind, is_exact in (("cat", True), ("linear", False)):
        model.add_weighted_adapter(list(names), list(weights), kind, combination_type=kind)
        assert (relative_error(peft_updates(model, kind), exact) < 1e-5) == is_exact


def test_static_decoding_is_measured_on_a_device():
    """On the CPU, where a step is not recorded; the limit is that of the parameters."""
    config = decode.DecodeConfig(
        device="cpu", shape="tiny", dtype="float32", compiled=False, layers=(1,), batches=(1,),
        n_prompt=5, n_new=3, n_rounds=1,
    )  # fmt: skip
    table = decode.tables(config)["static_decode"].set_index("system")
    paths = ["dynamic, one model", "dynamic, l=1", "graph, one model", "graph, l=1"]
    assert list(table.index) == ["transformers, one model", *paths]
    ratio = table.limit_ms["graph, l=1"] / table.limit_ms["graph, one model"]
    native = native_of(SHAPES["tiny"], 0, torch.device("cpu"), torch.float32)
    assert ratio == pytest.approx(decode_limit(lm.wrap(native), 1))
    assert (table.share_of_limit.abs() > 0).all()
    with pytest.raises(ValueError, match="device=cpu and shape=None belong together"):
        decode.tables(decode.DecodeConfig(device="cpu"))


@pytest.mark.slow
def test_analyses_are_timed_on_a_device_on_random_models_of_a_shape():
    config = analyses_on_device.AnalysesConfig(
        dtype="float32", n_prompts=4, n_texts=4, n_curvature_texts=1, n_threads=1
    )
    table = analyses_on_device.tables(config)["analyses_on_device"].set_index("analysis")
    assert list(table.index) == ["similarity", "layerwise", "curvature"]
    assert (table.seconds > 0).all()
    assert table.peak_gb.isna().all()  # of a GPU alone
    assert set(table.device) == {"cpu"}

"""What must hold on a CUDA device: `python -m pytest -m gpu tests/gpu`. Without one, all are skipped."""

import pytest
import torch
from families import CONFIGS, random_lm, random_tokens
from given_tokens import logits_along

import lm_merge as lm

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; none is here"),
]
GREEDY = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None}
SAMPLED = {"max_new_tokens": 24, "do_sample": True, "temperature": 1.5, "seed": 3}
BF16_FRAC = 0.05  # of the largest logit: bfloat16 has 8 bits


def pair(family: str = "qwen2", dtype: torch.dtype = torch.float32) -> list[lm.HookedLM]:
    return [random_lm(family, seed).to(DEVICE, dtype) for seed in (0, 1)]


def padded_prompts() -> dict[str, torch.Tensor]:
    """Two rows, of which the second has four columns of padding on the left."""
    ids, mask = random_tokens(2, 9), torch.ones(2, 9, dtype=torch.long)
    ids[1, :4], mask[1, :4] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def assert_equal_paths(composed, **arguments) -> None:
    expected = composed.generate(padded_prompts(), static=False, **arguments)
    got = composed.generate(padded_prompts(), **arguments)  # chosen without being asked for
    assert composed.decoding.last.static, composed.decoding.last
    assert composed.decoding.last.step == "graph"
    assert torch.equal(got, expected)


@pytest.mark.parametrize("arguments", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("family", CONFIGS)
def test_a_graph_gives_the_tokens_of_the_dynamic_path(family, arguments):
    host, donor = pair(family)
    assert_equal_paths(lm.LatentMerge(host, donor, layers=[1, 2], alpha=0.5), **arguments)
    assert_equal_paths(lm.LogitEnsemble([host, donor]), **arguments)
    assert_equal_paths(host, **arguments)


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": lm.AgreementGate(max_alpha=0.9)},
        {"alpha": lm.ScheduleGate([0.9, 0.0, 0.6])},
        {"alpha": 0.5, "donor_stream": "coupled"},
    ],
    ids=["agreement", "schedule", "coupled"],
)
def test_gates_and_coupled_streams_in_a_graph(settings):
    assert_equal_paths(lm.LatentMerge(*pair(), layers=[1, 2], **settings), **GREEDY)


def test_alpha_is_live_between_two_calls_of_one_graph():
    merge = lm.LatentMerge(*pair(), layers=[1, 2], alpha=0.5)
    for alpha in (0.5, 0.0, 1.0):
        merge.alpha = alpha
        assert_equal_paths(merge, **GREEDY)
    assert len(merge.decoding._steps) == 1


def test_a_compiled_graph_gives_the_tokens_of_the_dynamic_path():
    merge = lm.LatentMerge(*pair(), layers=[1, 2], alpha=0.5)
    expected = merge.generate(padded_prompts(), static=False, **GREEDY)
    got = merge.generate(padded_prompts(), static=True, compile="default", **GREEDY)
    assert merge.decoding.last.step == "compiled graph"
    assert torch.equal(got, expected)


@pytest.mark.parametrize("operator", lm.OPERATORS)
def test_every_operator_in_bfloat16_is_near_float32_on_both_paths(operator):
    tokens, found = random_tokens(1, 6, seed=5)[0], {}
    for dtype in (torch.float32, torch.bfloat16):
        host, donor, base = (random_lm("qwen2", seed).to(DEVICE, dtype) for seed in range(3))
        settings = {"base": base} if operator == "task_vector" else {}
        merge = lm.LatentMerge(host, donor, operator=operator, layers=[1, 2], alpha=0.5, **settings)
        for static in (False, True):
            found[dtype, static] = logits_along(merge, padded_prompts(), tokens, static=static)
            assert merge.decoding.last.static is static
    expected = found[torch.float32, False]
    for (dtype, _), logits in found.items():
        share = BF16_FRAC if dtype is torch.bfloat16 else 1e-4
        difference = (logits - expected).abs().max()
        assert difference <= share * expected.abs().max()


def test_devices_apart_take_the_dynamic_path():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    host, donor = random_lm("qwen2", 0).to("cuda:0"), random_lm("qwen2", 1).to("cuda:1")
    merge = lm.LatentMerge(host, donor, layers=[1, 2], alpha=0.5)
    tokens = merge.generate(padded_prompts(), **GREEDY)
    assert "several devices" in merge.decoding.last.reason
    together = lm.LatentMerge(*pair(), layers=[1, 2], alpha=0.5)
    assert torch.equal(tokens, together.generate(padded_prompts(), **GREEDY))


def test_similarity_gives_the_numbers_of_the_cpu():
    from analyses.similarity.analysis import run
    from analyses.similarity.config import SimilarityConfig

    tables = [run(SimilarityConfig(n_prompts=8, device=device)) for device in ("cpu", DEVICE)]
    for name in ("similarity", "output"):
        values = [table[name].value.to_numpy() for table in tables]
        assert values[1] == pytest.approx(values[0], abs=1e-3, nan_ok=True)


def test_layerwise_gives_the_numbers_of_the_cpu():
    from analyses.layerwise.analysis import run
    from analyses.layerwise.config import LayerwiseConfig

    sizes = {"n_texts": 8, "layers": (3, 7), "n_prompts": 4}
    tables = [run(LayerwiseConfig(**sizes, device=device)) for device in ("cpu", DEVICE)]
    for name in ("layerwise", "parents", "signals"):
        values = [table[name].value.to_numpy(dtype=float) for table in tables]
        assert values[1] == pytest.approx(values[0], abs=1e-3, rel=1e-3, nan_ok=True)


def test_copies_have_a_bandwidth():
    from lm_merge.models.bandwidth import copy_bandwidth

    assert copy_bandwidth(torch.device(DEVICE), n_bytes=2**28) > 0

"""The bundled models in bfloat16: every operator, gate and space."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lm_merge as lm
from lm_merge.operators import OPERATORS
from lm_merge.operators.distributions import ENSEMBLE_METHODS
from lm_merge.spaces.latents.latent_grid import GridCell, LatentGrid

TRIO = ("tiny-instruct", "tiny-thinker", "tiny-coder")
Trio = dict[str, lm.HookedLM]


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Trio:
    """The bundled models, saved in bfloat16 and loaded as they are."""
    folder: Path = tmp_path_factory.mktemp("bf16")
    for name in TRIO:
        model = lm.load(name, dtype="bfloat16")
        model.native.save_pretrained(folder / name)
        model.tokenizer.save_pretrained(folder / name)
    return {name: lm.load(folder / name) for name in TRIO}


def gates(trio: Trio) -> dict[str, Callable[..., torch.Tensor]]:
    host, donor = trio["tiny-instruct"], trio["tiny-thinker"]
    return {
        "agreement": lm.AgreementGate(0.5),
        "confidence": lm.ConfidenceGate(host.readout, donor.readout, 0.5),
        "schedule": lm.ScheduleGate([0.5, 0.25]),
    }


def merge_of(trio: Trio, operator: str, alpha: object, **more: object) -> lm.LatentMerge:
    base = trio["tiny-coder"] if operator == "task_vector" else None
    host, donor = trio["tiny-instruct"], trio["tiny-thinker"]
    arguments = {"operator": operator, "layers": [3, 5], "alpha": alpha, "base": base, **more}
    return lm.LatentMerge(host, donor, **arguments)


@pytest.mark.parametrize("stream", ["pure", "coupled"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_merges_bf16_models(trio, operator, stream):
    assert trio["tiny-instruct"].dtype == torch.bfloat16
    merge = merge_of(trio, operator, 0.5, donor_stream=stream)
    tokens = merge.host.to_tokens("12+34 = ?").input_ids
    assert merge(tokens).isfinite().all()
    assert isinstance(merge.generate("12+34 = ?", chat=True, max_new_tokens=4), str)
    merge.alpha = 0.0
    assert torch.equal(merge(tokens), merge.host.native(tokens).logits)


@pytest.mark.parametrize("gate", ["agreement", "confidence", "schedule"])
def test_every_gate_opens_for_bf16_models(trio, gate):
    merge = merge_of(trio, "slerp", gates(trio)[gate])
    assert merge(merge.host.to_tokens("12+34 = ?").input_ids).isfinite().all()


@pytest.mark.parametrize("method", ENSEMBLE_METHODS)
def test_every_ensemble_of_bf16_models_generates(trio, method):
    ensemble = lm.LogitEnsemble([trio["tiny-instruct"], trio["tiny-thinker"]], method=method)
    assert isinstance(ensemble.generate("12+34 = ?", chat=True, max_new_tokens=4), str)


@pytest.mark.parametrize("donor_stream", ["pure", "coupled"])
@pytest.mark.parametrize("wide", ["host", "donor"])
def test_a_pair_of_unlike_dtypes_merges(trio, tiny_instruct, tiny_thinker, wide, donor_stream):
    host = tiny_instruct if wide == "host" else trio["tiny-instruct"]
    donor = tiny_thinker if wide == "donor" else trio["tiny-thinker"]
    merge = lm.LatentMerge(host, donor, layers=[3, 5], alpha=0.5, donor_stream=donor_stream)
    assert merge(host.to_tokens("12+34 = ?").input_ids).dtype == host.dtype


def test_a_grid_takes_up_states_of_a_wider_dtype(trio):
    merge = merge_of(trio, "slerp", 0.5)
    cells = tuple(GridCell(3, name, 0.5) for name in ("lerp", "slerp"))
    text = merge.host.to_tokens("12+34 = ?")
    passed = LatentGrid(merge, cells).run(text.input_ids, text.attention_mask)
    for _, ends in passed.ends():
        assert ends.isfinite().all()
    wide = passed.host.states[3].float().unsqueeze(0)
    with torch.no_grad():
        end = passed.host.resume(3, wide)
        assert torch.equal(end[0], passed.host.states[merge.host.n_layers - 1])
        logits = passed.host.tail.readout(end.float())
    assert logits.dtype == torch.bfloat16

"""Training: seeds alone and together, checkpoints, schedules."""

import pytest
import torch
from torch.testing import assert_close

from lm_merge.decomposition.evaluation import evaluate
from lm_merge.decomposition.fit import Fit, learning_rate
from lm_merge.decomposition.settings import DecompositionSettings
from tests.decomposition.toys import PAPER, resid_mlp, tms

SMALL = {
    "components": 7,
    "steps": 6,
    "batch": 64,
    "faithful_start": 3,
    "eval_every": 3,
    "eval_batch": 128,
}


def fitted(target, seeds, until=None, **changes) -> Fit:
    fit = Fit(target, DecompositionSettings(**{**SMALL, **changes}), seeds)
    fit.run(until=until)
    return fit


@pytest.mark.parametrize("changes", [{}, PAPER], ids=["delta", "paper"])
@pytest.mark.parametrize("target", [tms(identity=True), resid_mlp()], ids=["tms", "resid"])
def test_seeds_together_have_the_numbers_they_have_alone(target, changes):
    together = fitted(target, [3, 0], **changes)
    for place, seed in enumerate([3, 0]):
        alone = fitted(target, [seed], **changes)
        for name, tensor in alone.decomposition.tensors.items():
            both = tensor[0], together.decomposition.tensors[name][place]
            assert_close(*both, atol=1e-5, rtol=1e-4)
        values = evaluate(alone.decomposition, target.settings.expected)
        for name, found in evaluate(together.decomposition, target.settings.expected).items():
            assert found[place] == pytest.approx(values[name][0], rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("gate", ["scalar", "vector", "shared", "global"])
def test_training_lowers_reconstruction_loss(gate):
    settings = DecompositionSettings(**{**SMALL, "steps": 40, "lr": 1e-2}, gate=gate)
    fit = Fit(tms(), settings, [0, 1])
    losses = [fit.step()["stochastic"].mean() for _ in range(40)]
    assert sum(losses[-5:]) < sum(losses[:5]) / 2


def test_every_loss_can_be_trained_with():
    losses = {
        name: {"weight": 1.0}
        for name in ("adversarial", "adversarial_subset", "ci", "components", "subset", "frequency",
                     "schatten", "faithfulness")
    }  # fmt: skip
    found = fitted(tms(identity=True), [0], losses=losses).step()
    assert set(found) == set(losses)
    assert all(value.isfinite().all() for value in found.values())


def test_a_stopped_run_goes_on_with_equal_losses(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    whole = fitted(tms(), [0, 1])
    Fit(tms(), DecompositionSettings(**SMALL), [0, 1]).run(checkpoint=path, until=3)
    resumed = Fit(tms(), DecompositionSettings(**SMALL), [0, 1])
    resumed.run(checkpoint=path)
    assert resumed.step_number == whole.step_number == 6
    for name, tensor in whole.decomposition.tensors.items():
        assert torch.equal(tensor, resumed.decomposition.tensors[name]), name
    assert all(torch.equal(one, resumed.last_alive[name]) for name, one in whole.last_alive.items())


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    fitted(tms(), [0]).save(path)
    other = Fit(tms(), DecompositionSettings(**{**SMALL, "lr": 1e-4}), [0])
    with pytest.raises(ValueError, match="is a checkpoint of other settings"):
        other.run(checkpoint=path)


def test_learning_rates():
    cosine = DecompositionSettings(lr=1.0, steps=101)
    assert learning_rate(cosine, 0) == 1
    assert learning_rate(cosine, 50) == pytest.approx(0.5**0.5)
    assert learning_rate(cosine, 100) == pytest.approx(0)
    rising = DecompositionSettings(lr=1.0, steps=100, lr_warmup_frac=0.1, schedule="constant")
    assert [learning_rate(rising, step) for step in (0, 4, 10, 99)] == [0.1, 0.5, 1.0, 1.0]


def test_a_loss_that_is_not_finite_stops_the_run():
    fit = Fit(tms(), DecompositionSettings(**SMALL), [0])
    fit.step()
    with torch.no_grad():
        fit.decomposition.tensors["linear1.U"].fill_(float("nan"))
    with pytest.raises(ValueError, match="are not finite"):
        fit.run()


def test_seeds_are_distinct():
    with pytest.raises(ValueError, match="each once"):
        Fit(tms(), DecompositionSettings(), [1, 1])

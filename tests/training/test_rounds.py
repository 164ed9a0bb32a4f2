"""Rounds of training and merging, on tiny classifiers of n-grams."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import lm_merge as lm
from lm_merge.coefficients.selection import select_by_hand
from lm_merge.evaluation.massive import LabelledTexts
from lm_merge.evaluation.selected_sources import combined
from lm_merge.models.classifier import Classifier
from lm_merge.training.epochs import train_epoch
from lm_merge.training.memory import limit_device
from lm_merge.training.rounds import Rounds
from lm_merge.training.rounds_settings import RoundsSettings
from lm_merge.zoo.ngram_classifier import NgramConfig, NgramForSequenceClassification

LABELS = ("alarm_set", "play_music")
WORDS = {"aa-AA": ("wake me", "play music"), "bb-BB": ("weck mich", "spiel musik")}


def texts(locale: str, n: int) -> LabelledTexts:
    both = [
        (f"{word} {i}", label)
        for i in range(n)
        for word, label in zip(WORDS[locale], LABELS, strict=True)
    ]
    return LabelledTexts(locale, tuple(range(2 * n)), *map(tuple, zip(*both, strict=True)))


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("start") / "model"
    torch.manual_seed(0)
    config = NgramConfig(101, 8, 8, id2label=dict(enumerate(LABELS)))
    NgramForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def rounds(start: str, folder: Path, **settings) -> Rounds:
    given = {"max_epochs": 4, "merge_every": 2, "batch": 4, "learning_rate": 1e-2}
    return Rounds(
        start=dict.fromkeys(WORDS, start),
        train={locale: texts(locale, 6) for locale in WORDS},
        dev={locale: texts(locale, 3) for locale in WORDS},
        selection=select_by_hand("cc-CC", {"aa-AA": 3.0, "bb-BB": 1.0}),
        settings=RoundsSettings(**{**given, **settings}),
        folder=folder,
    )


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_given_back_is_separate_training_bit_for_bit(start, tmp_path):
    kept = rounds(start, tmp_path / "kept", give_back=0.0, moments="keep", margin=1.0)
    found = kept.run()
    assert [row["epoch"] for row in kept.merges] == [2, 4]
    apart = rounds(start, tmp_path / "apart", merge_every=99).run()
    for locale in WORDS:
        assert equal(tensors(found[locale]), tensors(apart[locale]))
    assert not equal(tensors(found["aa-AA"]), tensors(found["bb-BB"]))


def test_one_round_is_training_then_merging(start, tmp_path):
    found = rounds(start, tmp_path / "one", merge_every=4, margin=1.0).run()
    apart = rounds(start, tmp_path / "apart", merge_every=99)
    separate = {locale: str(folder) for locale, folder in apart.run().items()}
    merged, _ = combined(apart.selection, separate, "linear")
    assert isinstance(merged, Classifier)
    for locale in WORDS:
        assert equal(tensors(found[locale]), merged.model.state_dict())


def test_a_run_stopped_after_any_epoch_ends_with_the_same_weights(start, tmp_path):
    class Stopped(Exception):
        pass

    whole = rounds(start, tmp_path / "whole", moments="average", give_back=0.5, margin=1.0)
    expected = whole.run()
    folder = tmp_path / "stopped"
    for n_rows in range(1, 30):
        part = rounds(start, folder, moments="average", give_back=0.5, margin=1.0, keep_states=2)
        seen = []

        def stop_at(row, seen=seen, n_rows=n_rows):
            seen.append(row)
            if len(seen) == n_rows:
                raise Stopped

        part.on_row = stop_at
        try:
            found = part.run()
            break
        except Stopped:
            continue
    assert n_rows > 5
    assert part.monitor == whole.monitor
    assert part.merges == whole.merges
    for locale in WORDS:
        assert equal(tensors(found[locale]), tensors(expected[locale]))


def test_a_merge_that_harms_is_not_given_back(start, tmp_path, monkeypatch):
    run = rounds(start, tmp_path / "harm", max_epochs=2, margin=0.0)

    def broken(*arguments, **options):
        raise ValueError("tensor 'x' is not finite")

    monkeypatch.setattr("lm_merge.training.rounds.combined", broken)
    found = run.run()
    assert run.merges[0]["accepted"] is False
    assert run.merges[0]["reason"] == "tensor 'x' is not finite"
    apart = rounds(start, tmp_path / "apart", max_epochs=2, merge_every=99).run()
    assert equal(tensors(found["aa-AA"]), tensors(apart["aa-AA"]))
    assert lm.load_classifier(found["aa-AA"]).labels == LABELS


def test_gradients_of_several_batches_are_one_step(start, tmp_path):
    whole = rounds(start, tmp_path / "whole", max_epochs=2, merge_every=99)
    parts = rounds(start, tmp_path / "parts", max_epochs=2, merge_every=99, batch=2, accumulation=2)
    ours, theirs = parts.run()["aa-AA"], whole.run()["aa-AA"]
    for name, values in tensors(ours).items():
        torch.testing.assert_close(values, tensors(theirs)[name], rtol=1e-3, atol=1e-4)


def test_training_in_half_precision_keeps_weights_in_full(start, tmp_path):
    given = {"max_epochs": 1, "merge_every": 99}
    half = rounds(start, tmp_path / "half", precision="bfloat16", **given).run()["aa-AA"]
    full = rounds(start, tmp_path / "full", **given).run()["aa-AA"]
    ours, theirs = tensors(half), tensors(full)
    assert all(values.dtype == torch.float32 for values in ours.values())
    assert not equal(ours, theirs)
    assert all(torch.allclose(ours[name], theirs[name], atol=0.1) for name in ours)


def test_training_stops_where_dev_accuracy_does_not_rise(start, tmp_path):
    run = rounds(start, tmp_path / "stop", learning_rate=1e-9, merge_every=99, patience=1)
    found = run.run()
    assert [row["epoch"] for row in run.monitor] == [1, 1, 2, 2]
    assert run.notes == ["stopped after epoch 2: patience=1"]
    assert found["aa-AA"].name == "epoch-0002"


def test_after_merges_that_failed_in_a_row_no_more_are_tried(start, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise ValueError("tensor 'x' is not finite")

    monkeypatch.setattr("lm_merge.training.rounds.combined", broken)
    run = rounds(start, tmp_path / "few", merge_every=1, max_merge_attempts=2)
    run.run()
    assert [row["epoch"] for row in run.merges] == [1, 2]


def test_rounds_merge_by_statistics_of_texts(start, tmp_path):
    run = rounds(start, tmp_path / "fisher", method="fisher", max_epochs=2, margin=1.0)
    run.prompts = ["wake me 1", "play music 2"]
    found = run.run()
    assert run.merges[0]["accepted"], run.merges[0]["reason"]
    assert equal(tensors(found["aa-AA"]), tensors(found["bb-BB"]))


def test_a_budget_is_of_a_gpu(start, tmp_path, monkeypatch):
    run = rounds(start, tmp_path / "budget", max_device_gb=2.0)
    with pytest.raises(ValueError, match="max_device_gb=2 is a budget of a GPU's memory"):
        run.run()
    limits = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=8e9)
    )
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda *given: limits.append(given)
    )
    limit_device("cuda", 2.0)  # torch refuses "cuda" without a number here
    limit_device("cuda:1", 100.0)
    assert limits == [(0.25, 3), (1.0, 1)]


def test_where_memory_runs_out_smaller_parts_give_the_same_steps(start, tmp_path, monkeypatch):
    tried = []

    def short_of_memory(*arguments, held, **options):
        tried.append(held)
        if held > 2:
            raise torch.OutOfMemoryError("fake")
        return train_epoch(*arguments, held=held, **options)

    whole = rounds(start, tmp_path / "whole", max_epochs=2, merge_every=99)
    expected = whole.run()
    monkeypatch.setattr("lm_merge.training.rounds.train_epoch", short_of_memory)
    run = rounds(start, tmp_path / "short", max_epochs=2, merge_every=99)
    found = run.run()
    assert tried == [4, 2, 2, 2, 2]  # once found out, it stays
    assert run.notes == ["out of memory: batch 2, accumulation 2 from here on"]
    for locale in WORDS:
        ours, theirs = tensors(found[locale]), tensors(expected[locale])
        for name, values in ours.items():
            torch.testing.assert_close(values, theirs[name], rtol=1e-3, atol=1e-4)
    assert [row["locale"] for row in run.costs] == ["aa-AA", "bb-BB"] * 2
    again = rounds(start, tmp_path / "short", max_epochs=2, merge_every=99)
    again.run()
    assert (
        again.costs == run.costs
    )  # of the epochs when they were trained, not when they were found

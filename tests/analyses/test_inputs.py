"""What goes in: fingerprints by model and revision, and what a record says of the models."""

import pytest

import lm_merge as lm
from analyses.running.inputs import fingerprints, note_models, origins_of
from analyses.running.recipe_words import source_name
from lm_merge import Recipe
from lm_merge.recipes import ModelSource
from lm_merge.runs.record import start_run

OLD, NEW = (ModelSource(model="some/model", revision=name) for name in ("old", "new"))


def test_two_revisions_of_one_model_are_two_models(tiny_instruct, monkeypatch):
    assert [source_name(one) for one in (OLD, "some/model")] == ["some/model@old", "some/model"]
    recipe = Recipe(host=OLD, donors=(NEW,), layers=(3,), alpha=0.5)
    assert fingerprints(recipe) == {"some/model@old": None, "some/model@new": None}
    models = [lm.wrap(tiny_instruct.native) for _ in range(2)]
    for model, source in zip(models, (OLD, NEW), strict=True):
        monkeypatch.setattr(model, "source", source)
    assert set(origins_of(models)) == {"some/model@old", "some/model@new"}


@pytest.mark.parametrize("alone", [True, False])
def test_a_record_names_models_device_and_dtype(tmp_path, tiny_instruct, tiny_thinker, alone):
    merge = lm.LatentMerge(tiny_instruct, tiny_thinker, layers=[3], alpha=0.5)
    with start_run("test", OLD, root=tmp_path) as run:
        note_models(run, tiny_instruct if alone else merge, seeds=[7], notes=["so"])
    names = {"tiny-instruct"} if alone else {"tiny-instruct", "tiny-thinker"}
    record = run.record
    assert set(record.models) == names
    assert None not in record.models.values()
    assert (record.device, record.dtype, record.seeds) == ("cpu", "float32", (7,))
    assert record.notes[-1] == "so"
    note_models(None, merge)  # nothing to write into

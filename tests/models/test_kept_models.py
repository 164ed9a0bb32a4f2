"""Models kept between the cells of a sweep, while files, dtype and place are the same."""

import json
import shutil
from pathlib import Path

import pytest

from lm_merge.models.kept_models import load_or_keep
from lm_merge.models.loading import resolve
from lm_merge.recipes import ModelSource
from lm_merge.runs import BETWEEN_CELLS
from lm_merge.spaces.source_loader import SourceLoader


@pytest.fixture
def budget():
    BETWEEN_CELLS.budget_bytes = 2**30
    yield
    BETWEEN_CELLS.budget_bytes = 0


def test_a_kept_model_is_given_again_only_while_its_files_are_the_same(tmp_path, budget):
    folder = tmp_path / "model"
    shutil.copytree(Path(resolve("tiny-instruct")), folder)
    first = SourceLoader()(str(folder))
    assert SourceLoader()(ModelSource(model=str(folder))) is first  # another cell's loader
    assert SourceLoader(dtype="bfloat16")(str(folder)) is not first
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "max_new_tokens": 7}))
    changed = SourceLoader()(str(folder))
    assert changed is not first
    assert changed.native.generation_config.max_new_tokens == 7


def test_without_a_budget_every_cell_has_a_model_of_its_own():
    first = load_or_keep("tiny-instruct")
    assert load_or_keep("tiny-instruct") is not first
    assert BETWEEN_CELLS.keys() == ()

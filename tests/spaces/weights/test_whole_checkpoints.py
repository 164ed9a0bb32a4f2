"""What a checkpoint holds decides: heads, buffers, names, missing tensors; nothing half is written."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from families import random_model
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.spaces.weights import make_weight_plan

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
UP, INV_FREQ = "model.layers.2.mlp.up_proj.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LM_MERGE_CACHE", str(tmp_path_factory.mktemp("cache")))


def two(tmp_path: Path, family: str = "qwen2", **changes: Any) -> dict[str, Any]:
    for name, seed in (("first", 1), ("second", 2)):
        random_model(family, seed, **changes).save_pretrained(tmp_path / name)
    models = {"host": str(tmp_path / "first"), "donors": [str(tmp_path / "second")]}
    return {"space": "weights", "operator": "linear", "alpha": 0.5, **models}


def held(folder: Path) -> Tensors:
    return load_file(folder / "model.safetensors")


def changed(folder: Path, change: Callable[[Tensors], Any]) -> None:
    tensors = held(folder)
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def config_of(folder: Path, **changes: Any) -> dict[str, Any]:
    content = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(content))
    return content


def own_head(tensors: Tensors) -> None:
    tensors[HEAD] = tensors[EMBEDDING].flip(0).clone()


def test_a_head_of_its_own_is_merged_though_the_flag_says_tied(tmp_path):
    recipe = two(tmp_path, tie_word_embeddings=True)
    for name in ("first", "second"):
        changed(tmp_path / name, own_head)
    out = lm.merge_weights(recipe, tmp_path / "out")
    first, second = (held(tmp_path / name)[HEAD] for name in ("first", "second"))
    assert_close(held(out)[HEAD], (first + second) / 2)
    assert config_of(out)["tie_word_embeddings"] is False
    assert_close(lm.load(out).require_native("the test").lm_head.weight.detach(), held(out)[HEAD])


@pytest.mark.parametrize("flag", [True, False])
def test_a_copy_of_the_embedding_is_no_head_of_its_own(flag, tmp_path):
    recipe = two(tmp_path, tie_word_embeddings=True)
    changed(tmp_path / "first", lambda tensors: tensors.update({HEAD: tensors[EMBEDDING].clone()}))
    config_of(tmp_path / "first", tie_word_embeddings=flag)
    out = lm.merge_weights(recipe, tmp_path / "out")
    assert HEAD not in held(out)
    assert config_of(out)["tie_word_embeddings"] is True
    assert lm.load(out).d_vocab == 97


def test_a_class_that_ties_by_default_needs_no_flag(tmp_path):
    recipe = two(tmp_path, "gemma2")
    for name in ("first", "second"):
        content = config_of(tmp_path / name)
        content.pop("tie_word_embeddings", None)
        (tmp_path / name / "config.json").write_text(json.dumps(content))
    changed(tmp_path / "first", lambda tensors: tensors.update({HEAD: tensors[EMBEDDING].clone()}))
    assert HEAD not in held(lm.merge_weights(recipe, tmp_path / "out"))


def test_two_that_lack_the_same_tensor_are_refused(tmp_path):
    recipe = two(tmp_path)
    for name in ("first", "second"):
        changed(tmp_path / name, lambda tensors: tensors.pop(UP))
    with pytest.raises(ValueError, match=f"first': its checkpoint lacks 1 tensor .*{UP}"):
        lm.merge_weights(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_found_whole_is_not_asked_of_the_class_again(tmp_path, monkeypatch):
    recipe = two(tmp_path)
    make_weight_plan(recipe)
    monkeypatch.setattr("lm_merge.models.model_class.model_class", None)
    make_weight_plan(recipe)
    changed(tmp_path / "first", lambda tensors: tensors.pop(UP))
    changed(tmp_path / "second", lambda tensors: tensors.pop(UP))
    with pytest.raises(TypeError):
        make_weight_plan(recipe)


def test_the_rows_of_the_file_are_those_of_the_configuration(tmp_path):
    recipe = two(tmp_path)
    for name in ("first", "second"):
        config_of(tmp_path / name, vocab_size=103)
    with pytest.raises(ValueError, match=r"has \(97, 32\), not \(103, 32\)"):
        lm.merge_weights(recipe, tmp_path / "out")


def test_recomputed_buffers_in_one_checkpoint_are_left_out(tmp_path):
    recipe = two(tmp_path)
    changed(tmp_path / "second", lambda tensors: tensors.update({INV_FREQ: torch.ones(4)}))
    out = lm.merge_weights(recipe, tmp_path / "out")
    assert held(out).keys() == held(tmp_path / "first").keys()


def test_one_model_under_two_sets_of_names_is_one_model(tmp_path):
    recipe = two(tmp_path, "gpt2")
    expected = held(lm.merge_weights(recipe, tmp_path / "expected"))

    def without_prefix(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    changed(tmp_path / "second", without_prefix)
    merged = held(lm.merge_weights(recipe, tmp_path / "out"))
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], expected[name]) for name in merged)


def test_processor_files_come_along(tmp_path):
    recipe = two(tmp_path)
    (tmp_path / "first" / "preprocessor_config.json").write_text("{}")
    out = lm.merge_weights(recipe, tmp_path / "out")
    assert (out / "preprocessor_config.json").read_text() == "{}"


@pytest.mark.parametrize("operator", ["linear", "slerp", "nuslerp"])
def test_values_beyond_the_dtype_of_the_output_are_refused(operator, tmp_path):
    recipe = two(tmp_path)
    for name in ("first", "second"):
        changed(tmp_path / name, lambda tensors: tensors.update({UP: tensors[UP] * 1e7}))
    recipe["host"] = {"model": recipe["host"], "dtype": "float16"}
    with pytest.raises(ValueError, match=f"{UP}.* not finite in float16.*wider dtype"):
        lm.merge_weights(recipe | {"operator": operator}, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second"}


@pytest.mark.parametrize("there", ["checkpoint-500/optimizer.pt", "notes.txt", "README.md"])
def test_only_what_a_merge_wrote_is_replaced(there, tmp_path):
    recipe = two(tmp_path)
    out = lm.merge_weights(recipe, tmp_path / "out")
    (out / there).parent.mkdir(exist_ok=True)
    (out / there).write_text("mine")
    with pytest.raises(FileExistsError, match="was not written by a merge alone"):
        lm.merge_weights(recipe, out, overwrite=True)
    assert (out / there).read_text() == "mine"


SLOW = """
import sys, time
import lm_merge.spaces.weights.execution as execution
from lm_merge.cli import main
merge = execution.merge_tensor
def slow(*arguments):
    time.sleep(0.1)
    return merge(*arguments)
execution.merge_tensor = slow
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing_behind(number, status, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(two(tmp_path)))
    before = sorted(tmp_path.iterdir())
    command = [sys.executable, "-c", SLOW, "weights", "recipe.yaml", "out", "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(lm.__file__).parents[1])}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while process.poll() is None and not list(tmp_path.glob(".out-*/*.safetensors")):
            time.sleep(0.02)
        process.send_signal(number)
        _, error = process.communicate()
    assert process.returncode == status
    assert len(error.splitlines()) <= 1
    assert sorted(tmp_path.iterdir()) == before

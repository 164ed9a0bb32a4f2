"""A model is read from the files that transformers reads, whole, or refused by the file's name."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import random_model
from safetensors.torch import load_file, save_file

import lm_merge as lm
from lm_merge.models.checkpoint_files import weight_files

NORM, UP = "model.norm.weight", "model.layers.2.mlp.up_proj.weight"


@pytest.fixture
def folder(tmp_path) -> Path:
    random_model("qwen2", 1).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder: Path, content: Any = None, **options: Any) -> None:
    """The folder's weights as pytorch_model.bin, or other content under that name."""
    single = folder / "model.safetensors"
    torch.save(content or load_file(single), folder / "pytorch_model.bin", **options)
    single.unlink()


def sharded(folder: Path) -> dict[str, Any]:
    """The folder's weights in two shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for number in (1, 2):
        file = f"model-{number}.safetensors"
        part = {name: tensors[name] for name in sorted(tensors)[number - 1 :: 2]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def norm_of(folder: Path) -> torch.Tensor:
    return lm.load(folder).require_native("the test").get_parameter(NORM).detach()


@pytest.mark.parametrize("stale", ["shards", "bin", "index"])
def test_of_two_sets_side_by_side_the_one_of_transformers_is_read(stale, folder):
    expected = load_file(folder / "model.safetensors")[NORM]
    whole = (folder / "model.safetensors").read_bytes()
    if stale == "bin":
        pickled(
            folder, {name: one * 7 for name, one in load_file(folder / "model.safetensors").items()}
        )
    else:
        changed(folder, lambda tensors: tensors.update({NORM: tensors[NORM] * 7}))
        sharded(folder)
    if stale == "index":
        (folder / "model-1.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(whole)
    assert weight_files(folder, "model") == [folder / "model.safetensors"]
    assert torch.equal(norm_of(folder), expected)


def test_shards_are_those_that_the_index_names(folder):
    expected = load_file(folder / "model.safetensors")[NORM]
    index = sharded(folder)
    save_file({NORM: expected * 7}, folder / "model-0-old.safetensors")
    assert torch.equal(norm_of(folder), expected)
    index["weight_map"]["model.layers.9.mlp.up_proj.weight"] = "model-1.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="names model.layers.9.*, which no file holds"):
        lm.load(folder)
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(OSError, match="model-1.safetensors, named in .* is not there"):
        lm.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_in_either_format_of_torch_is_read(new, folder):
    expected = load_file(folder / "model.safetensors")[NORM]
    pickled(folder, _use_new_zipfile_serialization=new)
    assert torch.equal(norm_of(folder), expected)


class Code:
    def __reduce__(self) -> Any:
        return os.mkdir, ("it_ran",)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"x": Code()}, "cannot be unpickled without running code"),
        ({"state_dict": {NORM: torch.ones(2)}, "epoch": 3}, "does not hold tensors by name alone"),
        ([1, 2], "holds a list, not tensors by name"),
    ],
)
def test_a_pickle_of_something_else_is_refused_by_name(content, match, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    pickled(folder, content)
    with pytest.raises(ValueError, match=f"pytorch_model.bin {match}"):
        lm.load(folder)
    assert not Path("it_ran").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_pointers_and_damaged_files_are_refused_by_name(file, folder):
    if file == "pytorch_model.bin":
        pickled(folder)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match=f"{file} is a pointer of Git LFS"):
        lm.load(folder)
    for content in (b"", whole[:-500], b"\xff" * 100):
        (folder / file).write_bytes(content)
        with pytest.raises(ValueError, match=f"{file} (is damaged|cannot be unpickled)"):
            lm.load(folder)


@pytest.mark.parametrize(
    ("there", "match"),
    [
        ("adapter_config.json", "it is an adapter"),
        ("checkpoint-500/config.json", "did you mean .*checkpoint-500"),
        ("optimizer.bin", "optimizer.bin is not what transformers reads"),
    ],
)
def test_a_folder_without_weights_says_what_it_is(there, match, folder):
    (folder / "model.safetensors").unlink()
    (folder / there).parent.mkdir(exist_ok=True)
    (folder / there).write_text("{}")
    with pytest.raises(OSError, match=f"has no model.safetensors .*{match}"):
        lm.load(folder)


def test_tensors_that_lack_or_are_unknown_are_named(folder):
    changed(folder, lambda tensors: tensors.pop(UP))
    with pytest.raises(ValueError, match=f"lacks 1 tensor of Qwen2ForCausalLM, .* random: {UP}"):
        lm.load(folder)
    changed(
        folder, lambda tensors: tensors.update({UP: torch.ones(48, 32), "extra": torch.ones(2)})
    )
    with pytest.raises(
        ValueError, match="holds 1 tensor that Qwen2ForCausalLM does not know: extra"
    ):
        lm.load(folder)
    assert lm.load(folder, accept_missing=True).n_layers == 4


def test_recomputed_buffers_are_no_unknown_tensors(folder):
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    changed(folder, lambda tensors: tensors.update({name: torch.ones(4)}))
    assert lm.load(folder).n_layers == 4


def test_shapes_other_than_the_configurations_are_named(folder):
    name = "model.embed_tokens.weight"
    more = torch.zeros(3, 32)
    changed(folder, lambda tensors: tensors.update({name: torch.cat([tensors[name], more])}))
    with pytest.raises(ValueError, match=rf"{name} has \(100, 32\), not \(97, 32\)"):
        lm.load(folder)
    assert lm.load(folder, ignore_mismatched_sizes=True).d_vocab == 97


def test_a_folder_with_a_slash_in_its_name_is_no_misspelt_bundled_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="could not be had from the hub"):
        lm.load("acme/tiny-coder")

"""What cannot be merged is refused in one sentence, and leaves nothing behind."""

import json
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from families import random_model
from safetensors.torch import load_file, save_file

import lm_merge as lm
from lm_merge import cli
from lm_merge.spaces.weights import execution, make_weight_plan, merge, writer
from lm_merge.zoo.names import BUNDLED

BUNDLED_PAIR = {
    "space": "weights",
    "host": "tiny-instruct",
    "donors": ["tiny-thinker"],
    "alpha": 0.5,
}
MERGEKIT = {
    "merge_method": "linear",
    "models": [{"model": "tiny-instruct"}, {"model": "tiny-coder"}],
}


@pytest.fixture
def pair(tmp_path) -> dict[str, Any]:
    for name, seed in (("first", 1), ("second", 2)):
        random_model("qwen2", seed).save_pretrained(tmp_path / name)
    models = {"host": str(tmp_path / "first"), "donors": [str(tmp_path / "second")]}
    return {"space": "weights", "operator": "linear", "alpha": 0.5, **models}


def changed(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def refused(recipe: dict[str, Any], tmp_path: Path, match: str, **options: Any) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises((ValueError, OSError), match=match):
        lm.merge_weights(recipe, tmp_path / "out", **options)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"operator": "slrp"}, "unknown merge method 'slrp'"),
        ({"operator": "ties"}, "method 'ties' needs an ancestor"),
        ({"operator": "linear", "base": "tiny-coder"}, "'linear' takes no ancestor"),
        ({"operator_args": {"densty": 0.5}}, "parameters: densty: unknown to method"),
        ({"operator": "model_stock"}, "reads no weights; leave alpha out"),
        ({"operator": "regmean", "alpha": None}, "needs data: give prompts"),
        ({"operator": "passthrough"}, "needs slices"),
        ({"donors": ["no-such-model"]}, "'no-such-model' is no folder and no bundled name"),
        ({"donor_weights": [1.0, 2.0]}, "2 entries for 1 donors"),
        ({"donor_weights": [-1.0]}, "must be non-negative"),
        ({"data": ["12+34 = ?"]}, "method 'linear' reads no data; leave prompts and data out"),
        ({"operator": "fisher", "alpha": None, "data": "no-such.txt"}, "'no-such.txt' is no file"),
        ({"host": {"model": "tiny-instruct", "dtype": "int4"}}, "dtype='int4' is unknown"),
        ({"space": "logits", "operator": "soft"}, "needs a recipe with space 'weights'"),
    ],
)
def test_our_recipes_are_checked_first(change, match, tmp_path):
    refused(BUNDLED_PAIR | {"operator": "linear"} | change, tmp_path, match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"merge_methods": 1}, "merge_methods: not supported; choose from accept, base_model"),
        ({"merge_method": "sce"}, "merge_method='sce' is unknown"),
        ({"chat_template": "auto"}, "chat_template: not supported"),
        ({"slices": []}, "give either models or slices"),
        ({"models": ["tiny-coder"]}, "the entry 'tiny-coder' is no mapping"),
        ({"models": [{"model": "tiny-coder", "weight": 1}]}, "models: weight: not supported"),
        ({"parameters": {"density": 0.5}}, "density: unknown to method 'linear'"),
        ({"parameters": {"weight": 0.0}}, "sum to 0"),
        ({"parameters": {"weight": "much"}}, "weight='much' is no number"),
        ({"parameters": {"weight": [{"filtre": "mlp"}]}}, "keys \\['filtre'\\]"),
        ({"tokenizer_source": "union"}, "tokenizer_source='union' is not supported"),
        ({"dtype": "float31"}, "dtype='float31' is unknown"),
        ({"merge_method": "slerp"}, "needs base_model"),
        ({"merge_method": "slerp", "base_model": "tiny-thinker"}, "base_model and one other model"),
        ({"merge_method": "ties", "base_model": "tiny-thinker", "parameters": {"density": 1.5}},
         "density=1.5 is outside 0..1"),
        ({"merge_method": "nuslerp", "models": [{"model": "tiny-coder"}] * 3}, "takes 2 models"),
    ],
)  # fmt: skip
def test_recipes_in_mergekits_format_are_checked_first(change, match, tmp_path):
    refused(MERGEKIT | change, tmp_path, match)


def test_ranges_of_blocks_are_checked(tmp_path):
    sources = [
        {"model": "tiny-instruct", "layer_range": [0, 4]},
        {"model": "tiny-coder", "layer_range": [0, 9]},
    ]
    recipe = {"merge_method": "linear", "slices": [{"sources": sources}]}
    refused(recipe, tmp_path, r"layer_range=\[0, 9\] of 'tiny-coder' is outside \[0, 8\]")
    sources[1]["layer_range"] = [0, 3]
    refused(recipe, tmp_path, "these differ in number")
    sources[1]["layer_range"] = "0-3"
    refused(recipe, tmp_path, "layer_range='0-3' is no pair")


def test_models_that_do_not_fit_are_told_apart(pair, tmp_path):
    second = tmp_path / "second"
    random_model("llama", 2).save_pretrained(second)
    refused(pair, tmp_path, "differ in model_type: qwen2 and llama")
    random_model("qwen2", 2, intermediate_size=64).save_pretrained(second)
    refused(pair, tmp_path, r"tensor 'model.layers.0.mlp.down_proj.weight' has shapes \(32, 48\)")
    random_model("qwen2", 2, num_hidden_layers=3, layer_types=None).save_pretrained(second)
    refused(pair, tmp_path, "second' lacks model.layers.3")
    random_model("qwen2", 2, tie_word_embeddings=True).save_pretrained(second)
    refused(pair, tmp_path, "second' ties its unembedding to its embedding")
    random_model("qwen2", 2, vocab_size=99).save_pretrained(second)
    refused(pair, tmp_path, "97 and 99 rows of vocabulary and no tokenizer files")
    random_model("qwen2", 2).save_pretrained(second)
    changed(second, lambda tensors: tensors.pop("model.norm.weight"))
    refused(pair, tmp_path, "second' lacks model.norm.weight")


@pytest.mark.parametrize("operator", ["linear", "slerp", "ties", "nuslerp", "breadcrumbs"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(operator, value, pair, tmp_path):
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.2.mlp.up_proj.weight"][3, 4] = value

    changed(tmp_path / "second", spoil)
    recipe = pair | {"operator": operator}
    if operator in ("ties", "breadcrumbs"):
        random_model("qwen2", 3).save_pretrained(tmp_path / "base")
        recipe |= {"base": str(tmp_path / "base")}
    refused(recipe, tmp_path, "'model.layers.2.mlp.up_proj.weight' of model '.*second' holds NaN")


def test_damaged_files_are_named(pair, tmp_path):
    file = tmp_path / "second" / "model.safetensors"
    whole = file.read_bytes()
    for content in (b"", b"\xff" * 100, whole[: len(whole) // 2], b"\x10" + bytes(7) + b"{" * 16):
        file.write_bytes(content)
        refused(pair, tmp_path, "second/model.safetensors is damaged or no safetensors file")
    file.unlink()
    refused(pair, tmp_path, "has no model.safetensors and no model.safetensors.index.json")
    (tmp_path / "second" / "config.json").write_text("{")
    refused(pair, tmp_path, "config.json is no JSON")


@pytest.mark.parametrize("shard", ["../first/model.safetensors", "/etc/passwd", "..", 3])
def test_shards_do_not_lead_out_of_the_folder(shard, pair, tmp_path):
    (tmp_path / "second" / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": shard}}
    (tmp_path / "second" / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(pair, tmp_path, "is no plain file name")


def test_an_absent_shard_is_named(pair, tmp_path):
    (tmp_path / "second" / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": "model-1.safetensors"}}
    (tmp_path / "second" / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(pair, tmp_path, "model-1.safetensors, named in")


def test_pickles_are_read_only_when_asked_and_run_nothing(pair, tmp_path):
    second = tmp_path / "second"
    tensors = load_file(second / "model.safetensors")
    expected = lm.merge_weights(pair, tmp_path / "expected")
    (second / "model.safetensors").unlink()
    torch.save(tensors, second / "pytorch_model.bin")
    refused(pair, tmp_path, "has only pickled weights")
    out = lm.merge_weights(pair, tmp_path / "out", allow_pickle=True)
    merged, same = (load_file(folder / "model.safetensors") for folder in (out, expected))
    assert all(torch.equal(merged[name], same[name]) for name in same)
    shutil.rmtree(out)

    class Command:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model.norm.weight": Command()}, second / "pytorch_model.bin")
    with pytest.raises(Exception, match="[Uu]npickl|Weights only"):
        lm.merge_weights(pair, tmp_path / "out", allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_is_there_stays_unless_it_is_a_checkpoint_to_overwrite(pair, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    refused(pair, tmp_path, "is there already; give overwrite=True")
    refused(pair, tmp_path, "holds no checkpoint", overwrite=True)
    assert (out / "thesis.tex").read_text() == "mine"
    (out / "thesis.tex").unlink()
    lm.merge_weights(pair, out, overwrite=True)
    before = load_file(out / "model.safetensors")
    lm.merge_weights(pair | {"alpha": 0.25}, out, overwrite=True)
    after = load_file(out / "model.safetensors")
    assert not torch.equal(before["lm_head.weight"], after["lm_head.weight"])
    with pytest.raises(FileExistsError, match="is, or holds, model '.*first' of the recipe"):
        lm.merge_weights(pair, tmp_path / "first", overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second", "out"}


def test_no_model_of_the_recipe_is_overwritten_nor_a_folder_that_holds_one(pair, tmp_path):
    host = tmp_path / "host"
    random_model("qwen2", 3).save_pretrained(host)
    models = [{"model": pair["host"]}, {"model": pair["donors"][0]}]
    recipe = {"merge_method": "linear", "models": models, "base_model": str(host)}  # not merged
    outer = tmp_path / "outer"
    random_model("qwen2", 4).save_pretrained(outer)
    (tmp_path / "second").rename(outer / "second")
    inside = pair | {"donors": [str(outer / "second")]}
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in outer.glob("*.*"):
        (linked / path.name).symlink_to(path)
    through = pair | {"donors": [str(linked)]}
    models[1] = {"model": str(linked)}
    for given, out in ((recipe, host), (inside, outer), (through, outer)):
        with pytest.raises(FileExistsError, match="is, or holds, model"):
            lm.merge_weights(given, out, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"first", "host", "outer", "linked"}
    assert (outer / "second" / "model.safetensors").is_file()


def test_without_the_scheduler_of_linux_all_cores_count(pair, tmp_path, monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity")
    assert lm.merge_weights(pair, tmp_path / "out").is_dir()


def test_too_little_space_is_seen_before_anything_is_written(pair, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(execution.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    refused(pair, tmp_path, r"needs 0.07 GB, and .* has 0.00 GB free")


def test_a_disk_that_fills_up_leaves_nothing(pair, tmp_path, monkeypatch):
    written, pwrite = [], os.pwrite

    def full(descriptor: int, data: Any, place: int) -> int:
        written.append(place)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, place)

    monkeypatch.setattr(writer.os, "pwrite", full)
    refused(pair, tmp_path, "No space left on device")


def test_interrupted_runs_leave_nothing_and_start_again(pair, tmp_path):
    def stop(_plan: Any, _tensor: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lm.merge_weights(pair, tmp_path / "out", done=stop)
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second"}
    lm.merge_weights(pair, tmp_path / "out")


def with_vocabulary(folder: Path, words: dict[str, int]) -> None:
    content = {"model": {"type": "BPE", "vocab": words, "merges": []}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def test_rows_beyond_the_vocabulary_are_padding(pair, tmp_path):
    random_model("qwen2", 2, vocab_size=105).save_pretrained(tmp_path / "second")
    for name in ("first", "second"):
        with_vocabulary(tmp_path / name, {f"t{n}": n for n in range(90)})
    out = lm.merge_weights(pair, tmp_path / "out")
    first, second, merged = (
        load_file(tmp_path / name / "model.safetensors")["lm_head.weight"]
        for name in ("first", "second", "out")
    )
    assert torch.equal(merged[:90], (first[:90] + second[:90]) / 2)
    assert torch.equal(merged[90:], first[90:])
    assert "padding rows are those of" in (out / "README.md").read_text()


def test_other_vocabularies_are_refused_or_matched_by_token(pair, tmp_path):
    ours = {f"t{n}": n for n in range(97)}
    theirs = {f"t{n}": 96 - n for n in range(1, 97)} | {"alone": 96}  # t0 is not among them
    with_vocabulary(tmp_path / "first", ours)
    with_vocabulary(tmp_path / "second", theirs)
    refused(pair, tmp_path, "differ in 97 tokens, for example")
    recipe = {
        "merge_method": "linear",
        "models": [{"model": pair["host"]}, {"model": pair["donors"][0]}],
        "tokenizer_source": f"model:{pair['host']}",
    }
    lm.merge_weights(recipe, tmp_path / "out")
    first, second, merged = (
        load_file(tmp_path / name / "model.safetensors")["model.embed_tokens.weight"]
        for name in ("first", "second", "out")
    )
    assert torch.equal(merged[1:], (first[1:] + second.flip(0)[1:]) / 2)
    assert torch.equal(merged[0], first[0])


def test_two_revisions_of_one_model_are_matched_each_by_its_own_tokens(pair, tmp_path, monkeypatch):
    ours = {f"t{n}": n for n in range(97)}
    theirs = {f"t{n}": 96 - n for n in range(97)}
    with_vocabulary(tmp_path / "first", ours)
    with_vocabulary(tmp_path / "second", theirs)
    folders = {"v1": tmp_path / "first", "v2": tmp_path / "second", None: tmp_path / "first"}
    monkeypatch.setattr(merge, "local_folder", lambda source, **_: folders[source.revision])
    recipe = {"merge_method": "linear", "models": [{"model": "x/y@v1"}, {"model": "x/y@v2"}]}
    first, second = (
        load_file(tmp_path / name / "model.safetensors")["model.embed_tokens.weight"]
        for name in ("first", "second")
    )
    means = {"v1": (first + second.flip(0)) / 2, "v2": (first.flip(0) + second) / 2}
    for revision, mean in means.items():
        named = recipe | {"tokenizer_source": f"model:x/y@{revision}"}
        out = lm.merge_weights(named, tmp_path / f"out-{revision}")
        merged = load_file(out / "model.safetensors")["model.embed_tokens.weight"]
        assert torch.equal(merged, mean)
    with pytest.raises(ValueError, match="names several models; choose from base, model:x/y@v1"):
        make_weight_plan(recipe | {"tokenizer_source": "model:x/y"})


def test_recipes_run_no_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("merge_method: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(
        ValueError, match=r"evil.yaml is no plain YAML: could not determine a constr"
    ):
        lm.merge_weights(path, tmp_path / "out")


def test_the_hub_is_asked_for_safetensors_only(monkeypatch, tmp_path):
    asked = {}

    def fetch(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(BUNDLED["tiny-thinker"].path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    donor = {"model": "someone/thinker", "revision": "v1"}
    plan = make_weight_plan(BUNDLED_PAIR | {"operator": "linear", "donors": [donor]})
    assert asked["name"] == "someone/thinker"
    assert asked["revision"] == "v1"
    assert not any("bin" in pattern or "*.py" in pattern for pattern in asked["patterns"])
    assert len(plan.tensors) == 99


def test_the_command_ends_with_one_line(tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MERGEKIT | {"models": [{"model": "./nowhere"}]}))
    with pytest.raises(SystemExit, match="2"):
        cli.main(["weights", str(path), str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert error.startswith("lm-merge: model './nowhere' is no folder")
    assert error.count("\n") == 1

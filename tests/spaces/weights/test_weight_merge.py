"""Merged checkpoints: equal to the peer's, to each method's formula, and to models that load."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from families import FAMILIES, random_model
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

import lm_merge as lm
from lm_merge.operators import slerp
from lm_merge.spaces.weights import make_weight_plan

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = yaml.safe_load((GOLDEN / "cases.yaml").read_text())
PEER = load_file(GOLDEN / "peer.safetensors")
# the peer takes cosines of rows of four values in float32; a sum in float64 gives ours
LOOSE = {"model_stock_rows": 5e-6}
NAMES = ("base", "first", "second", "third", "near")


@pytest.fixture(scope="session")
def golden_models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    tensors = load_file(GOLDEN / "models.safetensors")
    for name in NAMES:
        (folder / name).mkdir()
        own = {
            k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")
        }
        save_file(own, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text((GOLDEN / "config.json").read_text())
    return folder


def with_paths(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: with_paths(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_paths(inner, folder) for inner in value]
    return str(folder / value) if value in NAMES else value


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


@pytest.mark.parametrize("case", CASES)
def test_results_equal_those_of_the_peer(case, golden_models, tmp_path):
    recipe = with_paths(CASES[case], golden_models)
    merged = flat(tensors_of(lm.merge_weights(recipe, tmp_path / "out", compat="mergekit")))
    assert merged.dtype == PEER[case].dtype
    tolerance = LOOSE.get(case, 1e-6)
    assert_close(merged, PEER[case], rtol=tolerance, atol=tolerance)


def ours(folder: Path, operator: str, **more: Any) -> dict[str, Any]:
    models = {"host": str(folder / "first"), "donors": [str(folder / "second")]}
    return {"space": "weights", "operator": operator, **models, **more}


def test_our_slerp_is_the_operator_of_latent_space_on_flat_tensors(golden_models, tmp_path):
    recipe = ours(golden_models, "slerp", alpha=0.3)
    merged = tensors_of(lm.merge_weights(recipe, tmp_path / "out"))
    first, second = (tensors_of(golden_models / name) for name in ("first", "second"))
    for name, tensor in merged.items():
        states = torch.stack([first[name].flatten(), second[name].flatten()]).double()
        weights = torch.tensor([[0.7], [0.3]], dtype=torch.float64)
        assert_close(tensor.flatten().double(), slerp(states, weights), rtol=1e-6, atol=1e-6)


def test_slerp_keeps_its_precision_between_models_a_millionth_apart(golden_models, tmp_path):
    recipe = ours(golden_models, "slerp", alpha=0.25) | {"host": str(golden_models / "base")}
    recipe["donors"] = [str(golden_models / "near")]
    merged = flat(tensors_of(lm.merge_weights(recipe, tmp_path / "out")))
    base, near = (flat(tensors_of(golden_models / name)) for name in ("base", "near"))
    assert_close(merged, base + 0.25 * (near - base), rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("operator", ["linear", "lerp", "slerp", "nuslerp", "karcher"])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_at_the_ends_stand_host_and_donor(operator, alpha, golden_models, tmp_path):
    recipe = ours(golden_models, operator, alpha=alpha)
    merged = flat(tensors_of(lm.merge_weights(recipe, tmp_path / "out")))
    expected = flat(tensors_of(golden_models / ("first", "second")[int(alpha)]))
    assert_close(merged, expected, rtol=1e-6, atol=1e-6)


def test_task_vector_adds_to_the_host_what_the_donor_learnt(golden_models, tmp_path):
    recipe = ours(golden_models, "task_vector", alpha=0.5, base=str(golden_models / "base"))
    merged = flat(tensors_of(lm.merge_weights(recipe, tmp_path / "out")))
    base, first, second = (flat(tensors_of(golden_models / n)) for n in ("base", "first", "second"))
    assert_close(merged, first + 0.5 * (second - base))


def test_our_recipes_have_gradients_and_filters_too(golden_models, tmp_path):
    peers = with_paths(CASES["slerp_gradient"], golden_models)
    recipe = ours(golden_models, "slerp", operator_args={"t": peers["parameters"]["t"]})
    merged = lm.merge_weights(recipe, tmp_path / "a", compat="mergekit")
    assert_close(flat(tensors_of(merged)), PEER["slerp_gradient"], rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="t and alpha both give"):
        lm.merge_weights({**recipe, "alpha": 0.5}, tmp_path / "b")


def test_shards_that_come_in_are_one_model(golden_models, tmp_path):
    recipe = ours(golden_models, "linear", alpha=0.0)
    shards = lm.merge_weights(recipe, tmp_path / "shards", shard_size=700)
    assert len(list(shards.glob("*.safetensors"))) > 2
    again = lm.merge_weights({**recipe, "host": str(shards)}, tmp_path / "again")
    assert torch.equal(flat(tensors_of(again)), flat(tensors_of(golden_models / "first")))


@pytest.mark.parametrize("method", ["ties", "model_stock", "dare_linear"])
def test_a_host_that_is_the_ancestor_takes_no_part_whatever_its_dtype(
    method, golden_models, tmp_path
):
    base, donors = (
        str(golden_models / "base"),
        [str(golden_models / n) for n in ("first", "second")],
    )
    arguments = {} if method == "model_stock" else {"operator_args": {"density": 0.4}}
    recipe = {"space": "weights", "operator": method, "base": base, "donors": donors, **arguments}
    plain = lm.merge_weights({**recipe, "host": base}, tmp_path / "plain")
    same = {
        "merge_method": method,
        "base_model": base,
        "models": [{"model": donor} for donor in donors],
        "parameters": arguments.get("operator_args", {}),
    }
    peer = lm.merge_weights(same, tmp_path / "peer")
    host = {"model": base, "dtype": "float32"}
    cast = lm.merge_weights({**recipe, "host": host}, tmp_path / "cast")
    assert torch.equal(flat(tensors_of(plain)), flat(tensors_of(peer)))
    assert torch.equal(flat(tensors_of(cast)), flat(tensors_of(plain)))


@pytest.mark.parametrize("method", ["model_stock", "dare_linear"])
def test_compose_merges_as_merge_weights_does_where_the_host_is_the_ancestor(method, tmp_path):
    for name, seed in (("base", 0), ("first", 1), ("second", 2)):
        random_model("qwen2", seed).save_pretrained(tmp_path / name)
    recipe = ours(tmp_path, method, base=str(tmp_path / "base")) | {"host": str(tmp_path / "base")}
    recipe["donors"] = [str(tmp_path / "first"), str(tmp_path / "second")]
    recipe["operator_args"] = {"density": 0.5} if method == "dare_linear" else {}
    written = lm.load(lm.merge_weights(recipe, tmp_path / "out")).native.state_dict()
    composed: Any = lm.compose(lm.Recipe.load(recipe))
    for name, tensor in composed.native.state_dict().items():
        assert torch.equal(tensor, written[name]), name


def changed_weights(folder: Path, out: Path, change: Any) -> str:
    shutil.copytree(folder, out)
    tensors = {name: change(tensor) for name, tensor in tensors_of(folder).items()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return str(out)


@pytest.mark.parametrize("rows", [{}, {"nuslerp_flatten": False}])
def test_nuslerp_of_opposite_tensors_is_their_weighted_sum_and_says_so(
    rows, golden_models, tmp_path
):
    donor = changed_weights(golden_models / "first", tmp_path / "minus", torch.neg)
    recipe = ours(golden_models, "nuslerp", alpha=0.25, operator_args=rows) | {"donors": [donor]}
    out = lm.merge_weights(recipe, tmp_path / "out")
    first = flat(tensors_of(golden_models / "first"))
    assert_close(flat(tensors_of(out)), 0.5 * first)  # 0.75 - 0.25
    assert "nuslerp is undefined" in (out / "README.md").read_text()


def test_rows_of_one_number_have_no_path_where_signs_differ(golden_models, tmp_path):
    def one_column(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.flatten()[:, None].contiguous()

    donors = [
        changed_weights(golden_models / name, tmp_path / name, one_column)
        for name in ("first", "second")
    ]
    for donor in donors:  # no class of transformers has such shapes
        config = json.loads((GOLDEN / "config.json").read_text())
        (Path(donor) / "config.json").write_text(json.dumps(config | {"architectures": ["Other"]}))
    recipe = {
        "merge_method": "nuslerp",
        "models": [{"model": donor, "parameters": {"weight": 0.5}} for donor in donors],
        "parameters": {"nuslerp_flatten": False, "nuslerp_row_wise": True},
    }
    for values in (True, False):
        recipe["parameters"]["nuslerp_row_wise"] = values
        out = lm.merge_weights(recipe, tmp_path / f"out{values}")
        assert flat(tensors_of(out)).abs().max() < 100


@pytest.mark.parametrize("method", ["della", "della_linear"])
def test_della_at_its_defaults_keeps_all_of_a_task_vector(method, golden_models, tmp_path):
    base = str(golden_models / "base")
    models = {"merge_method": method, "base_model": base, "parameters": {"weight": 1.0}}
    recipe = models | {"models": [{"model": str(golden_models / "first")}]}
    merged = flat(tensors_of(lm.merge_weights(recipe, tmp_path / "out")))
    assert_close(merged, flat(tensors_of(golden_models / "first")))
    recipe["parameters"] = {"density": 0.9}  # epsilon is 0.15
    with pytest.raises(
        ValueError, match=r"density=0.9 and epsilon=0.15 of .* 0.75 to 1.05, outside"
    ):
        make_weight_plan(recipe)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della", "della_linear"])
def test_random_masks_depend_on_names_alone(method, golden_models, tmp_path):
    recipe = {
        "merge_method": method,
        "base_model": str(golden_models / "base"),
        "models": [{"model": str(golden_models / name)} for name in ("first", "second")],
        "parameters": {"density": 0.5, "weight": 0.7},
    }
    whole = lm.merge_weights(recipe, tmp_path / "whole", threads=1)
    shards = lm.merge_weights(recipe, tmp_path / "shards", threads=3, shard_size=700)
    index = json.loads((shards / "model.safetensors.index.json").read_text())
    files = {path.name: load_file(path) for path in shards.glob("*.safetensors")}
    assert len(files) > 2
    gathered = {name: files[file][name] for name, file in index["weight_map"].items()}
    assert torch.equal(flat(gathered), flat(tensors_of(whole)))
    assert not torch.equal(flat(gathered), flat(tensors_of(golden_models / "base")))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("operator", ["linear", "slerp"])
def test_every_family_merges_and_loads_in_both_libraries(family, operator, tmp_path):
    for name, seed in (("first", 1), ("second", 2)):
        random_model(family, seed).save_pretrained(tmp_path / name)
    out = lm.merge_weights(ours(tmp_path, operator, alpha=0.5), tmp_path / "out", shard_size=20_000)
    native: Any = AutoModelForCausalLM.from_pretrained(out)
    first, second = random_model(family, 1), random_model(family, 2)
    pairs = zip(first.state_dict().items(), second.state_dict().values(), strict=True)
    expected = {name: (a + b) / 2 for (name, a), b in pairs}
    if operator == "linear":
        for name, tensor in native.state_dict().items():
            assert_close(tensor, expected[name])
    tokens = torch.tensor([[3, 4, 5]])
    assert_close(lm.load(out)(tokens), native(tokens).logits, rtol=1e-4, atol=1e-4)


def test_tied_embeddings_stay_tied(tmp_path):
    for name, seed in (("first", 1), ("second", 2)):
        random_model("qwen2", seed, tie_word_embeddings=True).save_pretrained(tmp_path / name)
    out = lm.merge_weights(ours(tmp_path, "linear", alpha=0.5), tmp_path / "out")
    assert "lm_head.weight" not in tensors_of(out)
    native: Any = AutoModelForCausalLM.from_pretrained(out)
    assert native.lm_head.weight.data_ptr() == native.model.embed_tokens.weight.data_ptr()


def test_passthrough_cuts_the_lists_of_the_configuration_with_the_blocks(tmp_path):
    random_model("gemma2", 1).save_pretrained(tmp_path / "first")
    kinds = json.loads((tmp_path / "first" / "config.json").read_text())["layer_types"]
    sources = [{"sources": [{"model": str(tmp_path / "first"), "layer_range": [1, 4]}]}]
    recipe = {"merge_method": "passthrough", "slices": sources}
    out = lm.merge_weights(recipe, tmp_path / "out")
    config = json.loads((out / "config.json").read_text())
    assert config["num_hidden_layers"] == 3
    assert config["layer_types"] == kinds[1:]
    native: Any = AutoModelForCausalLM.from_pretrained(out)
    whole: Any = random_model("gemma2", 1)
    for block, origin in zip(native.model.layers, whole.model.layers[1:], strict=True):
        assert_close(block.state_dict(), origin.state_dict())


def test_the_merge_of_the_bundled_trio_speaks(tmp_path):
    merged = lm.compose(Path(__file__).parents[3] / "recipes/bundled_weights_ties.yaml")
    reply = merged.generate("What is the capital of Norway?", chat=True, max_new_tokens=16)
    assert isinstance(reply, str)
    assert reply


def test_low_precision_comes_in_and_goes_out(tmp_path):
    for name, seed in (("first", 1), ("second", 2)):
        random_model("qwen2", seed).bfloat16().save_pretrained(tmp_path / name)
    recipe = ours(tmp_path, "linear", alpha=0.25)
    merged = flat(tensors_of(lm.merge_weights(recipe, tmp_path / "out")))
    first, second = (flat(tensors_of(tmp_path / name)) for name in ("first", "second"))
    assert torch.equal(merged, (0.75 * first.float() + 0.25 * second.float()).bfloat16())
    recipe["host"] = {"model": recipe["host"], "dtype": "float32"}
    wide = flat(tensors_of(lm.merge_weights(recipe, tmp_path / "wide")))
    assert_close(wide, 0.75 * first.float() + 0.25 * second.float())


def test_a_plan_says_what_will_be_done_and_writes_nothing(golden_models, tmp_path):
    recipe = with_paths(CASES["linear_filters"], golden_models)
    plan = make_weight_plan(recipe)
    size = sum(tensor.numel() * 4 for tensor in tensors_of(golden_models / "first").values())
    assert plan.n_bytes == size
    assert plan.n_read_bytes == 2 * size
    by_name = {one.name: one for one in plan.tensors}
    attention = by_name["model.layers.1.self_attn.q_proj.weight"]
    assert attention.weights == (0.5, 0.5)  # halfway from 0.2 to 0.8, against 0.5
    assert not list(tmp_path.iterdir())

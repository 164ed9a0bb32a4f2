"""Which models fit together, and what is said of those that do not."""

from warnings import formatwarning

import pytest
import torch
from families import D_MODEL, D_VOCAB, N_LAYERS, random_lm, random_model, random_tokens
from transformers import AutoModelForCausalLM, OlmoConfig

import lm_merge as lm
from lm_merge.models import check_pair


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 16}, "d_model: host 32, donor 16"),
        ({"num_hidden_layers": 3, "layer_types": None}, "n_layers: host 4, donor 3"),
        ({"vocab_size": 98}, r"d_vocab \(no tokenizer to compare\): host 97, donor 98"),
        ({"rms_norm_eps": 1e-5}, "norm eps: host 1e-06, donor 1e-05"),
    ],
)
def test_each_mismatch_names_both_values(changes, message):
    with pytest.raises(lm.IncompatibleModels, match=message):
        check_pair(random_lm("qwen2", 0), random_lm("qwen2", 1, **changes))


def other_rope() -> lm.HookedLM:
    rope = {"rope_type": "default", "rope_theta": 500000.0}
    return random_lm("qwen2", 1, rope_parameters=rope)


def test_rope_differences_are_errors_unless_accepted_and_then_noted():
    host, donor = random_lm("qwen2", 0), other_rope()
    with pytest.raises(lm.IncompatibleModels, match=r"RoPE settings.*accept=\['rope'\]"):
        check_pair(host, donor)
    assert any("accepted: RoPE" in note for note in check_pair(host, donor, accept=["rope"]))


def test_accepted_differences_reach_the_recipe():
    merge = lm.LatentMerge(
        random_lm("qwen2", 0), other_rope(), layers=[1], alpha=0.5, accept=["rope"]
    )
    assert merge.recipe.accept == ("rope",)
    with pytest.raises(ValueError, match="accept=.'ropes'. is unknown; choose from rope, norm_eps"):
        check_pair(random_lm("qwen2", 0), other_rope(), accept=["ropes"])


def test_norm_types_must_agree():
    with pytest.raises(lm.IncompatibleModels, match="norm type: host 'RMS', donor 'LN'"):
        check_pair(random_lm("qwen2", 0), random_lm("gpt_neox", 1))


def test_different_readouts_are_noted(tiny_instruct, tiny_thinker):
    notes = check_pair(tiny_instruct, tiny_thinker)
    assert "the unembedding differs; the host's is used" in notes
    assert check_pair(tiny_instruct, tiny_instruct) == ()


def test_a_norm_without_parameters_is_no_difference():
    config = OlmoConfig(
        vocab_size=D_VOCAB,
        hidden_size=D_MODEL,
        intermediate_size=48,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        pad_token_id=0,
        eos_token_id=2,
    )
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(lm.wrap(AutoModelForCausalLM.from_config(config).eval()))
    notes = lm.LatentMerge(*models, layers=[1], alpha=0.5).notes
    assert notes == ("the unembedding differs; the host's is used",)


def with_tokens(tmp_path, tiny: lm.HookedLM, name: str, edit) -> lm.HookedLM:
    folder = tmp_path / name
    tiny.native.save_pretrained(folder)
    tokenizer = lm.load("tiny-instruct").tokenizer
    edit(tokenizer)
    tokenizer.save_pretrained(folder)
    return lm.load(folder)


def test_tokenizers_are_compared_token_by_token(tmp_path, tiny_instruct):
    donor = with_tokens(tmp_path, tiny_instruct, "more", lambda t: t.add_tokens(["<extra>"]))
    with pytest.raises(lm.IncompatibleModels, match="'<extra>' with id: host None, donor 512"):
        check_pair(tiny_instruct, donor)
    notes = check_pair(tiny_instruct, donor, accept=["special_tokens"])
    assert any("'<extra>'" in note for note in notes)


def test_another_chat_template_is_said_once_and_the_hosts_is_used(tmp_path, tiny_instruct):
    def edit(tokenizer) -> None:
        tokenizer.chat_template = "{{ messages[0]['content'] }}"

    donor = with_tokens(tmp_path, tiny_instruct, "template", edit)
    with pytest.warns(lm.PairNotice, match="the chat template differs; the host's is used") as said:
        lm.LatentMerge(tiny_instruct, donor, layers=[3], alpha=0.5)
    assert len(said) == 1
    assert str(said[0].message).count("chat template") == 1
    shown = formatwarning(said[0].message, said[0].category, said[0].filename, said[0].lineno)
    assert shown.count("\n") == 1, "a line of source was printed"


def test_padding_rows_of_the_embedding_are_no_difference(tmp_path, tiny_instruct):
    padded = lm.load("tiny-instruct").native
    padded.resize_token_embeddings(640, mean_resizing=False)
    padded.save_pretrained(tmp_path / "padded")
    tiny_instruct.tokenizer.save_pretrained(tmp_path / "padded")
    donor = lm.load(tmp_path / "padded")
    assert donor.d_vocab == 640
    tokens = random_tokens(2, 7)
    for host, other in ((tiny_instruct, donor), (donor, tiny_instruct)):
        merge = lm.LatentMerge(host, other, layers=[3], alpha=0.5, operator="lerp")
        assert merge(tokens).shape == (2, 7, host.d_vocab)


def test_families_of_one_shape_but_another_kind_of_block_are_still_caught():
    host = lm.wrap(random_model("qwen2", 0))
    donor = lm.wrap(random_model("gpt2", 1))
    assert host.d_model == donor.d_model
    with pytest.raises(lm.IncompatibleModels):
        check_pair(host, donor)
    assert torch.isfinite(host.native(random_tokens(1, 3)).logits).all()


def test_another_architecture_of_equal_shape_is_refused():
    with pytest.raises(lm.IncompatibleModels, match="architecture: host 'llama', donor 'qwen2'"):
        check_pair(random_lm("llama", 0), random_lm("qwen2", 1))


def test_sliding_windows_must_agree_unless_accepted():
    host, donor = random_lm("mistral", 0), random_lm("mistral", 1, sliding_window=None)
    with pytest.raises(lm.IncompatibleModels, match="sliding window: host .*6.*, donor None"):
        check_pair(host, donor)
    assert check_pair(host, donor, accept=["sliding_window"])

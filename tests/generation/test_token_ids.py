"""Rows of an unembedding that stand for no token are never drawn, and tables survive them."""

from collections.abc import Iterable

import pytest
import torch
from families import random_model, random_tokens
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

import lm_merge as lm
from analyses.tokens.analysis import token_tables
from lm_merge.generation import ids_with_token
from lm_merge.scoring.compositions import compositions_of
from lm_merge.scoring.output_divergence import output_table

IDS = [*range(80), *range(85, 95)]  # added tokens left a gap; rows from 95 on are padding
SETTINGS = {"max_new_tokens": 8, "eos_token_id": None}


def tokenizer(ids: Iterable[int] = IDS) -> PreTrainedTokenizerFast:
    words = {f"w{one}": one for one in ids}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocab=words, unk_token="w0")), unk_token="w0"
    )


def padded_lm(seed: int, d_vocab: int) -> lm.HookedLM:
    """A model whose likeliest id is always one without a token: of two opposite rows, one wins."""
    native = random_model("qwen2", seed, vocab_size=d_vocab)
    row = 3 * torch.randn(native.config.hidden_size)
    with torch.no_grad():
        for plus, minus in ((81, 82), (d_vocab - 2, d_vocab - 1)):
            native.lm_head.weight[plus], native.lm_head.weight[minus] = row, -row
    return lm.wrap(native, tokenizer())


@pytest.fixture(scope="module")
def pair() -> list[lm.HookedLM]:
    return [padded_lm(0, 97), padded_lm(1, 99)]


def test_the_models_themselves_would_draw_padding(pair):
    for model in pair:
        assert int(model(random_tokens(1, 5))[0, -1].argmax()) not in IDS


@pytest.mark.parametrize("way", [{"do_sample": False}, {"do_sample": True}, {"num_beams": 2}])
def test_ids_without_a_token_are_never_drawn(pair, way):
    tokens = random_tokens(2, 5)
    for host, donor in (pair, pair[::-1]):
        latent = lm.LatentMerge(host, donor, layers=[1], alpha=0.5)
        vote = lm.LogitEnsemble([host, donor], method="majority")
        for system in (host, latent, vote):
            assert set(system.generate(tokens, **way, **SETTINGS).flatten().tolist()) <= set(IDS)
        for system in (latent, vote):
            with system.hooks():
                drawn = host.native.generate(tokens, **way, **SETTINGS)
            assert set(drawn.flatten().tolist()) <= set(IDS)


def test_tables_survive_ids_without_a_token(pair):
    host, donor = pair
    merge = lm.LatentMerge(host, donor, layers=[1], alpha=0.5)
    text = torch.tensor([[5, 6, 82, 7, 96, 8]])
    tables = token_tables(merge, text, 2, top_k=3)
    words = tables["tokens"].query("system == 'merged'").token.tolist()
    assert words == ["#82", "w7", "#96", "w8"]
    gap = {f"#{one}" for one in range(80, 85)}
    assert set(tables["next_tokens"].candidate) <= {f"w{one}" for one in IDS} | gap
    ensemble = compositions_of(lm.LogitEnsemble(pair))
    batch = host.to_tokens(["w5 w6 w7", "w9 w8"])
    assert output_table(ensemble, [batch]).value.notna().all()


def test_tokens_that_are_added_later_are_seen():
    own = tokenizer(range(9))
    assert ids_with_token(own).tolist() == [*range(9)]
    own.add_tokens(["added"])
    assert ids_with_token(own).tolist() == [*range(10)]


def test_a_tokenizer_of_special_tokens_alone_is_refused():
    """transformers makes one for a folder without tokenizer files; by it one id alone is ever drawn."""
    model = lm.wrap(random_model("qwen2", 0), tokenizer([0]))
    with pytest.raises(ValueError, match=r"no token besides its special ones \(1 of them\)"):
        model.generate(random_tokens(1, 4), max_new_tokens=2)

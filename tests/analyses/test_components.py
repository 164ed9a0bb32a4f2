"""What components of a language model read and do: tables by hand-made components."""

import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from analyses.components.analysis import ablation_rows, by_text, important, input_rows, losses
from analyses.components.config import ComponentsConfig
from figures.component_ablation import plot_component_ablation
from lm_merge.decomposition.decomposition import Decomposition
from lm_merge.decomposition.registry import experiment
from lm_merge.decomposition.settings import DecompositionSettings
from lm_merge.decomposition.targets.build import build_target
from lm_merge.decomposition.targets.language import token_batch

DOWN = "model.layers.3.mlp.down_proj"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    target = {"modules": [DOWN], "n_texts": 6}
    made = experiment("lm_trio", target=target)
    generators = [torch.Generator().manual_seed(0)]
    settings = DecompositionSettings(components=3)
    built = build_target(made.target, tmp_path_factory.mktemp("targets"))
    one = Decomposition.start(built, settings, [0], generators)
    with torch.no_grad():  # the first component is the map's largest direction, the others are 0
        U, S, V = torch.linalg.svd(built.layers[DOWN].weight, full_matrices=False)
        for name in ("U", "V"):
            one.tensors[f"{DOWN}.{name}"].zero_()
        one.tensors[f"{DOWN}.U"][0, :, :1] = U[:, :1] * S[0]
        one.tensors[f"{DOWN}.V"][0, :1] = V[:1]
    return one


@pytest.fixture(scope="module")
def seen(found):
    texts = found.target.sources[0]
    with torch.no_grad():
        return found.see(token_batch(texts.ids[None], texts.real[None], found.target.model.device))


def test_inputs_are_ranked_and_are_the_tokens_of_their_texts(found, seen):
    config, texts = ComponentsConfig(n_inputs=4, n_before=200), found.target.sources[0]
    for place in important(seen, 2):
        rows = input_rows(config, found.target.model, texts, seen, place)
        needed = [row["importance"] * abs(row["activation"]) for row in rows]
        assert needed == sorted(needed, reverse=True)
        for row in rows:
            whole = [found.target.model.tokenizer.decode(one.tolist()) for one in texts.ids]
            assert any(one.startswith(row["before"] + row["token"]) for one in whole)
            assert row["skill"] in texts.labels


def test_only_a_component_that_does_something_is_missed(found, seen):
    ids, texts = seen.batch.ids[0], found.target.sources[0]
    places = sorted(important(seen, 3), key=lambda place: place.component)
    with torch.no_grad():
        rows = pd.DataFrame(ablation_rows(found, texts, ids, places))
    by_component = rows.groupby("component").kl.max()
    assert by_component[0] > 1e-4
    assert by_component[1:].max() < 1e-8
    assert set(rows.n) <= {1, 2}
    assert len(plot_component_ablation(rows).data) == 1


def test_losses_are_of_the_next_token_and_means_of_real_ones():
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 2] = 50.0
    values = losses(logits, torch.tensor([[1, 2, 3]]))
    assert_close(values, torch.tensor([[0.0, torch.log(torch.tensor(4.0))]]))
    assert float(by_text(values, torch.tensor([[1.0, 0.0]]))) == pytest.approx(0.0, abs=1e-6)

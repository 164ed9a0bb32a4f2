"""The similarity analysis on tiny XLM-R encoders merged in weights."""

import pandas as pd
import pytest
import torch
from transformers import AutoModel, AutoTokenizer
from xlm_roberta import TEXTS, write_classifiers

import lm_merge as lm
from analyses.similarity import analysis as similarity
from analyses.similarity.config import SimilarityConfig
from lm_merge.metrics import arc_ratio, midness
from lm_merge.runs.record import start_run


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Recipe, configuration, tables and record of a merge of two classifiers."""
    root = tmp_path_factory.mktemp("encoders")
    (host, donor, _), _ = write_classifiers(root)
    recipe = {"space": "weights", "operator": "linear", "alpha": 0.5, "donors": (str(donor),)}
    recipe["host"] = {"model": str(host), "task": "classification"}
    (root / "texts.txt").write_text("\n".join(TEXTS))
    config = SimilarityConfig(
        recipe=recipe, prompts=root / "texts.txt", alphas=(0.0, 1.0), batch_size=3
    )
    with start_run("similarity", config, root=root / "runs") as record:
        tables = similarity.run(config, record)
    return recipe, config, tables, record.record


def states(folder, texts: tuple[str, ...]) -> list[torch.Tensor]:
    """States of all tokens after each block, text by text, by transformers alone."""
    model, words = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        found = [
            model(**words(text, return_tensors="pt"), output_hidden_states=True).hidden_states[1:]
            for text in texts
        ]
    return [torch.cat([one[layer][0] for one in found]) for layer in range(len(found[0]))]


def test_states_are_those_of_plain_transformers(measured, tmp_path):
    recipe, _, tables, _ = measured
    merged = lm.merge_weights({**recipe, "host": recipe["host"]["model"]}, tmp_path / "merged")
    host, donor = states(recipe["host"]["model"], TEXTS), states(recipe["donors"][0], TEXTS)
    between = states(merged, TEXTS)
    table = tables["similarity"].query("alpha == 0.5").set_index(["metric", "layer"])
    for layer in (0, 1):
        parts = host[layer], donor[layer], between[layer]
        for name, metric in (("midness", midness), ("arc_ratio", arc_ratio)):
            expected = float(metric(*parts).mean())
            assert table.value[name, layer] == pytest.approx(expected, abs=1e-5)
            assert table.n[name, layer] == len(host[layer])


def test_at_the_ends_stand_host_and_donor(measured):
    _, _, tables, _ = measured
    table = tables["similarity"].set_index(["alpha", "metric"]).value
    assert table[0.0, "arc_ratio"].to_numpy() == pytest.approx(0.0, abs=1e-3)
    assert table[1.0, "arc_ratio"].to_numpy() == pytest.approx(1.0, abs=1e-3)
    assert table[0.0, "cka_debiased_host_merged"].to_numpy() == pytest.approx(1.0, abs=1e-5)


def test_what_makes_no_sense_for_encoders_is_left_out_and_noted(measured):
    recipe, config, tables, record = measured
    assert set(tables) == {"similarity", "paths"}
    assert "encoders have no next token: no divergences of the output" in record.notes
    names = [name for name, _, _ in similarity.draw(tables, config)]
    assert names == [
        "similarity_by_layer",
        "arc_ratio_by_alpha",
        "midness_by_layer",
        "residual_paths",
        "residual_paths_3d",
    ]
    found = similarity.findings(tables, config)
    assert {row["layer"] for row in found} == {1}
    line = similarity.summary(tables, config)
    assert line.startswith("weights linear, alpha 0.5: midness ")
    assert "Jensen" not in line
    assert isinstance(tables["similarity"], pd.DataFrame)
    votes = {**recipe, "space": "logits", "operator": "soft"}
    with pytest.raises(ValueError, match="a vote has none"):
        similarity.run(SimilarityConfig(recipe=votes))
    with pytest.raises(ValueError, match="a vote has none"):
        similarity.run(config.model_copy(update={"compare_with": ("logits:soft",)}))

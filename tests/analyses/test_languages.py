"""The study of languages on data made here: run, killed and run again, and its commands one by one."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from massive_data import LOCALES, N_IDS, write_classifiers, write_massive
from safetensors import safe_open

from analyses.languages import analysis, target
from analyses.languages.config import LanguagesConfig
from analyses.languages.tables import singles
from analyses.rounds import analysis as rounds
from analyses.rounds.config import RoundsConfig
from analyses.running.cells import CellsFailed
from analyses.similarity_merging import analysis as merging
from analyses.similarity_merging.config import SimilarityMergingConfig
from analyses.transfer_matrix import analysis as transfer_matrix
from analyses.transfer_matrix.config import TransferMatrixConfig
from lm_merge.evaluation.massive import read_massive
from lm_merge.evaluation.transfer import contrasts, summary_rows
from lm_merge.runs.record import start_run
from lm_merge.zoo.ngram_settings import PretrainingSettings, TuningSettings


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_massive(tmp_path_factory.mktemp("data"))


def study(data: Path) -> LanguagesConfig:
    return LanguagesConfig(
        data=data,
        locales=LOCALES,
        n_parallel=12,
        n_sources=2,
        n_draws=2,
        pretraining=PretrainingSettings(vocab_size=301, width=8, hidden=8, steps=2, batch=8),
        tuning=TuningSettings(epochs=2, batch=8),
    )


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Folder of the runs and tables of the study, without a break."""
    root = tmp_path_factory.mktemp("runs")
    config = study(data)
    with start_run("languages", config, root=root) as record:
        tables = analysis.run(config, record)
    return root, tables


def test_partitions_do_not_share_ids(data):
    by_partition = {name: read_massive(data, LOCALES, name) for name in N_IDS}
    ids = [set(texts["fi-FI"].ids) for texts in by_partition.values()]
    assert sum(map(len, ids)) == len(set.union(*ids)) == sum(N_IDS.values())
    assert by_partition["dev"]["de-DE"].ids == by_partition["dev"]["nl-NL"].ids
    assert by_partition["dev"]["de-DE"].texts[1] == "spiel musik 37"
    assert by_partition["dev"]["de-DE"].labels[1] == "play_music"
    with pytest.raises(ValueError, match="xx-XX are not in"):
        read_massive(data, ["xx-XX"], "dev")


@pytest.mark.slow
def test_summary_has_a_row_for_every_system(finished, data):
    _, tables = finished
    rows = analysis.findings(tables, study(data))
    assert [row["system"] for row in rows] == list(analysis.SYSTEMS)
    assert all(row["n_targets"] == 4 for row in rows)
    keys = {"system", "mean_accuracy", "low", "high", "n_targets", "wins", "p_holm"}
    assert all(set(row) == keys for row in rows)
    by_name = {row["system"]: row for row in rows}
    assert by_name["top5_cosine"]["wins"] is None
    transfer = tables["transfer"]
    test = transfer[transfer.partition == "test"]
    own = test[test.source == test.target].accuracy_frac
    elsewhere = test[test.source != test.target].accuracy_frac
    assert by_name["own"]["mean_accuracy"] == pytest.approx(own.mean())
    assert by_name["single_mean"]["mean_accuracy"] == pytest.approx(elsewhere.mean())
    for name, figure, _ in analysis.draw(tables, study(data)):
        assert figure.layout.title.text, name


@pytest.mark.slow
def test_a_study_that_is_stopped_anywhere_goes_on_and_gives_equal_rows(
    finished, data, tmp_path, monkeypatch
):
    """Each attempt stops one cell later; every finished cell is kept, none is computed twice."""
    computed, allowed = list[str](), [0]
    for module, name in (
        (analysis, "train_classifier"),
        (transfer_matrix, "measure_source"),
        (analysis, "measure_target"),
    ):
        original = getattr(module, name)

        def limited(cell, record, original=original, name=name):
            if allowed[0] == 0:
                raise KeyboardInterrupt
            allowed[0] -= 1
            computed.append(f"{name} {record.record.config_hash}")
            return original(cell, record)

        monkeypatch.setattr(module, name, limited)
    config, tables = study(data), None
    for _ in range(20):
        allowed[0] = 5
        try:
            with start_run("languages", config, root=tmp_path) as record:
                tables = analysis.run(config, record)
            break
        except KeyboardInterrupt:
            continue
    assert tables is not None
    assert len(computed) == len(set(computed)) == 12
    for name in ("transfer", "accuracy", "systems", "contrasts"):
        pd.testing.assert_frame_equal(tables[name], finished[1][name])


@pytest.mark.slow
def test_failures_are_listed_by_name_and_the_rest_is_kept(finished, data, tmp_path):
    root, _ = finished
    sources = {
        locale: str(next(root.glob("*languages_classifier*")) / "model") for locale in LOCALES[:2]
    }
    (tmp_path / "broken").mkdir()
    config = TransferMatrixConfig(data=data, sources={**sources, "fi-FI": str(tmp_path / "broken")})
    with (
        start_run("transfer_matrix", config, root=tmp_path) as record,
        pytest.raises(
            CellsFailed, match=r"1 of 3 cells of transfer_source failed: fi-FI \("
        ) as error,
    ):
        transfer_matrix.run(config, record)
    assert "de-DE" not in str(error.value)


@pytest.mark.slow
def test_every_model_is_loaded_once(data, tmp_path, monkeypatch):
    loaded = []
    original = transfer_matrix.load_classifier

    def counted(name, **options):
        loaded.append(Path(name).name)
        return original(name, **options)

    monkeypatch.setattr(transfer_matrix, "load_classifier", counted)
    config = TransferMatrixConfig(data=data, sources=write_classifiers(tmp_path))
    with start_run("transfer_matrix", config, root=tmp_path / "runs") as record:
        table = transfer_matrix.run(config, record)["transfer"]
    assert loaded == [f"models_{locale}" for locale in LOCALES]
    assert len(table) == 4 * 4 * 2


@pytest.mark.slow
def test_predicted_labels_are_kept(finished, data):
    root, tables = finished
    folder = sorted(root.glob("*-transfer_source-*"))[0]
    rows = pd.read_parquet(folder / "transfer.parquet")
    with safe_open(folder / "predicted.safetensors", framework="np") as kept:
        labels = json.loads(kept.metadata()["labels"])
        found = [labels[place] for place in kept.get_tensor("fi-FI/test")]
        ids = kept.get_tensor("fi-FI/test/ids").tolist()
    texts = read_massive(data, ["fi-FI"], "test")["fi-FI"]
    truth = dict(zip(texts.ids, texts.labels, strict=True))
    share = np.mean([one == truth[place] for one, place in zip(found, ids, strict=True)])
    row = rows[(rows.target == "fi-FI") & (rows.partition == "test")].iloc[0]
    assert row.accuracy_frac == pytest.approx(share)
    wide = pd.read_csv(next(root.glob("*-languages-*/similarity_from_transfer.csv")), index_col=0)
    dev = tables["transfer"].query("partition == 'dev' and source == 'de-DE' and target == 'fi-FI'")
    assert wide.loc["fi-FI", "de-DE"] == dev.accuracy_frac.iloc[0]


@pytest.mark.slow
def test_one_target_by_command(finished, data, tmp_path, capsys):
    root, tables = finished
    models = {}
    for folder in root.glob("*-languages_classifier-*"):
        locale = json.loads((folder / "record.json").read_text())["config_resolved"]["locale"]
        models[locale] = str(folder / "model")
    base = str(next(root.glob("*-languages_encoder-*")) / "model")
    given = {"data": data, "sources": models, "target": "nl-NL", "n_sources": 2}
    given |= {"similarity": data / "uriel_syntax_knn_cos_52.csv", "base": base}
    linear = SimilarityMergingConfig(**given)
    with start_run("similarity_merging", linear, root=tmp_path) as record:
        found = merging.run(linear, record)
    accuracy = found["accuracy"].set_index(["system", "partition"]).accuracy_frac
    of_study = tables["accuracy"].query("target == 'nl-NL' and partition == 'test'")
    of_study = of_study.set_index("system").accuracy_frac
    assert accuracy["similarity", "test"] == of_study["top5_cosine"]
    assert accuracy["own", "test"] == of_study["own"]
    soft = SimilarityMergingConfig(**given, method="soft", baselines=False)
    with start_run("similarity_merging", soft, root=tmp_path) as record:
        votes = merging.run(soft, record)["accuracy"]
    assert votes[votes.partition == "test"].accuracy_frac.item() == of_study["votes_soft"]
    ties = SimilarityMergingConfig(**given, method="ties", weights="random", seeds=(0, 1))
    with start_run("similarity_merging", ties, root=tmp_path) as record:
        drawn = merging.run(ties, record)
        assert any("has no classifier.bias" in note for note in record.record.notes)
    assert set(drawn["sources"].seed) == {0, 1}
    SimilarityMergingConfig(**given, dry_run=True).print_selection()
    assert capsys.readouterr().out.startswith(
        "target nl-NL\n  de-DE  similarity 0.900  weight 0.7500"
    )


def test_contrasts_by_hand():
    accuracy = {"a": (0.5, 0.6, 0.7, 0.8), "b": (0.6, 0.6, 0.8, 0.95), "c": (0.4, 0.4, 0.4, 0.4)}
    table = pd.DataFrame(
        [(s, f"t{i}", v) for s, values in accuracy.items() for i, v in enumerate(values)],
        columns=["system", "target", "accuracy_frac"],
    )
    found = contrasts(table, "a").set_index("system")
    assert found.loc["b", ["wins", "losses", "win_rate"]].tolist() == [3, 0, 0.875]
    assert found.loc["b", "mean_gain"] == pytest.approx(0.0875)
    assert found.loc["c", "wins"] == 0
    # exact signed-rank p-values: b has three differences of one sign, c four
    assert found.loc["b", "p_wilcoxon"] == pytest.approx(2 / 8)
    assert found.loc["c", "p_holm"] == pytest.approx(2 * 2 / 16)
    rows = summary_rows(table, "a", ["b", "a"])
    assert [row["system"] for row in rows] == ["b", "a"]
    assert rows[0]["mean_accuracy"] == pytest.approx(0.7375)
    with pytest.raises(ValueError, match="system 'b' has no accuracy for targets t3"):
        summary_rows(table.drop(index=7), "a")


def test_the_best_source_is_an_oracle_only_when_picked_on_test():
    cells = [("x", "dev", 0.9, 0.2), ("y", "dev", 0.5, 0.3), ("t", "dev", 1.0, 1.0)]
    rows = []
    for source, _, dev, test in cells:
        for partition, value in (("dev", dev), ("test", test)):
            measured = {"accuracy_frac": value, "low": 0.0, "high": 1.0, "n": 10}
            rows.append({"source": source, "target": "t", "partition": partition, **measured})
    found = singles(pd.DataFrame(rows)).set_index(["system", "partition"]).accuracy_frac
    assert found["best_source_oracle", "test"] == 0.3
    assert found["best_source_dev", "test"] == 0.2
    assert found["single_mean", "test"] == pytest.approx(0.25)


def test_sources_of_a_target_in_the_study(data):
    cell = target.TargetCell(
        data=data,
        digests={},
        target="fi-FI",
        models=dict.fromkeys(LOCALES, "m"),
        model_digests={},
        similarity=data / "uriel_syntax_knn_cos_52.csv",
        transfer=data / "uriel_syntax_knn_cos_52.csv",
        transfer_digest=None,
        n_examples=None,
        n_sources=2,
        sinkhorn_top_k=3,
        n_draws=1,
    )
    chosen = target.selections(cell)
    assert chosen["top5_cosine", None].names == ("et-EE", "de-DE")
    assert chosen["top5_uniform", None].weights == (0.5, 0.5)
    assert chosen["top5_without_first", None].names == ("de-DE",)
    assert chosen["all_but_target", None].names == ("de-DE", "et-EE", "nl-NL")


def test_rounds_take_sources_by_name_or_by_similarity():
    given = {"target": "nl-NL", "data": Path("data"), "locales": ("de-DE", "et-EE")}
    RoundsConfig(**given)
    with pytest.raises(ValueError, match="n_sources=2 chooses sources by similarity"):
        RoundsConfig(**given, n_sources=2)
    with pytest.raises(ValueError, match="give similarity or locales, and not both"):
        RoundsConfig(**given, similarity=Path("similarity.csv"))


@pytest.mark.slow
def test_rounds_by_command(finished, data, tmp_path):
    root, _ = finished
    base = str(next(root.glob("*-languages_encoder-*")) / "model")
    config = RoundsConfig(
        target="nl-NL",
        data=data,
        base=base,
        similarity=data / "uriel_syntax_knn_cos_52.csv",
        n_sources=2,
        max_epochs=2,
        merge_every=1,
        margin=1.0,
        learning_rate=1e-2,
        states=tmp_path / "states",
        mirror=tmp_path / "mirror",
    )
    with start_run("rounds", config, root=tmp_path) as record:
        tables = rounds.run(config, record)
    assert tables["monitor"].groupby("locale").epoch.max().to_dict() == {"de-DE": 2, "et-EE": 2}
    assert tables["monitor"][["seconds", "texts_per_second", "peak_memory_gb"]].min().min() > 0
    later = tables["monitor"].query("epoch == 2").dev_accuracy.mean()
    assert tables["merges"].dev_later.tolist() == pytest.approx([later, float("nan")], nan_ok=True)
    assert tables["merges"].accepted.tolist() == [True, True]
    test = tables["accuracy"].query("partition == 'test'").set_index("system").accuracy_frac
    assert test["rounds"] == test["source de-DE"]  # all of the merge was given back
    assert [row["system"] for row in rounds.findings(tables, config)][0] == "rounds"
    assert rounds.draw(tables, config)[0][1].layout.title.text
    assert {path.name for path in (tmp_path / "mirror").iterdir()} == {"de-DE", "et-EE"}
    assert (record.folder / "merged" / "model.safetensors").is_file()

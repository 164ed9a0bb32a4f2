"""A merge of adapters in a folder: with its report, loaded by PEFT, replaced only if it is ours."""

import json

import pytest
import torch
from peft import PeftModel
from peft_adapters import KINDS, save_adapter, tiny_llama
from safetensors.torch import load_file
from torch.testing import assert_close

import lm_merge as lm
from lm_merge.cli import main
from lm_merge.models.adapters import read_adapter
from lm_merge.spaces.adapters.checks import check_adapter, effective_rank, fit_problems
from lm_merge.spaces.adapters.interference import interference
from lm_merge.spaces.adapters.report import AdapterReport

TOKENS = torch.arange(12).view(2, 6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    tiny_llama().save_pretrained(root / "base")
    for seed, kind in enumerate(("plain", "rslora", "patterns")):
        save_adapter(tiny_llama(), root / kind, seed, **KINDS[kind])
    return root


@pytest.fixture(scope="module")
def host(root):
    return lm.load(root / "base")


def recipe(root, *kinds, **fields):
    donors = [str(root / kind) for kind in kinds or ("plain", "rslora", "patterns")]
    return {"space": "adapters", "host": str(root / "base"), "donors": donors, **fields}


def test_an_exact_merge_is_loaded_by_peft_and_by_us_and_says_what_it_is(root, host, tmp_path):
    given = recipe(root, coefficients=[0.7, -0.3, 0.5])
    out = lm.merge_adapters(given, tmp_path / "out", loaded=[host])
    merge = lm.compose(given, loaded=[host])
    theirs = PeftModel.from_pretrained(tiny_llama(), str(out)).eval()
    assert_close(theirs(TOKENS).logits, merge(TOKENS), rtol=1e-5, atol=1e-5)
    assert_close(lm.load(root / "base", adapter=out)(TOKENS), merge(TOKENS), rtol=1e-5, atol=1e-5)
    report = AdapterReport.load(out)
    assert report.exact
    assert report.coefficients == merge.coefficients
    assert report.ranks["model.layers.0.self_attn.q_proj"] == 4 + 8 + 4
    assert report.words == ("linear of plain + rslora + patterns: 6 modules, ranks 14 to 18, exact")
    assert lm.Recipe.load(out / "recipe.yaml") == lm.Recipe.load(given)
    assert "relative_errors" in json.loads((out / "merge_report.json").read_text())


def test_other_forms(root, host, tmp_path):
    given = recipe(root, operator="ties", operator_args={"density": 0.5})
    merge = lm.compose(given, loaded=[host])
    with pytest.raises(ValueError, match="recompress them"):
        lm.merge_adapters(given, tmp_path / "lora", loaded=[host])
    assert not (tmp_path / "lora").exists()
    model = lm.merge_adapters(given, tmp_path / "model", "model", loaded=[host])
    assert_close(lm.load(model)(TOKENS), merge(TOKENS), rtol=1e-5, atol=1e-5)
    delta = lm.merge_adapters(given, tmp_path / "delta", "delta", loaded=[host])
    key = "model.layers.1.mlp.down_proj"
    written = load_file(delta / "delta.safetensors")[f"{key}.weight"]
    assert_close(written, merge.updates.dense(key))
    small = lm.merge_adapters(given, tmp_path / "svd", "svd", rank=3, loaded=[host])
    report = AdapterReport.load(small)
    assert not report.exact
    update = read_adapter(small).deltas[key].dense()
    error = (update - written).norm() / written.norm()
    assert report.relative_errors[key] == pytest.approx(float(error), rel=1e-4)
    assert f"at most {report.worst_error:.3g}" in (small / "README.md").read_text()


def test_only_what_a_merge_wrote_is_replaced(root, host, tmp_path):
    given, out = recipe(root, "plain"), tmp_path / "out"
    lm.merge_adapters(given, out, loaded=[host])
    with pytest.raises(FileExistsError, match="give overwrite=True"):
        lm.merge_adapters(given, out, loaded=[host])
    lm.merge_adapters({**given, "alpha": 2.0}, out, overwrite=True, loaded=[host])
    assert set(AdapterReport.load(out).coefficients.values()) == {(2.0,)}
    (out / "notes.txt").write_text("mine")
    for folder, message in (
        (out, "by a merge of adapters alone"),
        (root / "plain", "is, or holds"),
    ):
        with pytest.raises(FileExistsError, match=message):
            lm.merge_adapters(given, folder, overwrite=True, loaded=[host])


def test_the_command_merges_and_shows_a_dry_run(root, tmp_path, capsys):
    path = lm.Recipe.load(recipe(root, "plain", "rslora")).save(tmp_path / "r.yaml")
    main(["adapters", str(path), "--dry_run", "true"])
    shown = capsys.readouterr().out
    assert "space: adapters" in shown
    assert "model.layers.0.mlp.down_proj" in shown
    main(["adapters", str(path), str(tmp_path / "out"), "--form", "svd", "--rank", "2"])
    assert "rank 2, relative error at most" in capsys.readouterr().out
    other = tmp_path / "other.yaml"
    other.write_text(
        f"adapters: [{root / 'plain'}, {root / 'rslora'}]\nmethod: ties\nlambda: 1.5\n"
    )
    main(["adapters", str(other), "--dry_run", "true", "--host", str(root / "base")])
    shown = capsys.readouterr().out
    assert "note: lambda is an older key" in shown
    assert "alpha: 1.5" in shown


def test_a_check_finds_what_is_there(root, host):
    adapters = [read_adapter(root / kind) for kind in ("plain", "rslora", "patterns")]
    for adapter in adapters:
        found = check_adapter(adapter, host)
        assert (found.oracle, found.problems) == ("PEFT", ())
        assert found.identity_error < 1e-5
        dense = torch.cat([one.dense().flatten() for one in adapter.deltas.values()])
        assert found.norm == pytest.approx(float(dense.norm()), rel=1e-5)
        assert 1 < found.effective_rank <= max(found.ranks)
    assert "rsLoRA" in check_adapter(adapters[1], host).options
    assert fit_problems(adapters) == []
    strange = lm.wrap(tiny_llama(hidden_act="gelu", tie_word_embeddings=False))
    assert check_adapter(adapters[0], strange).problems == ()  # other weights are no other shapes


def test_a_wrong_scale_fails_the_identity_test(root, host):
    from dataclasses import replace

    adapter = read_adapter(root / "plain")
    wrong = {key: replace(one, scale=2 * one.scale) for key, one in adapter.deltas.items()}
    assert check_adapter(replace(adapter, deltas=wrong), host).identity_error > 1e-2


def test_interference_is_that_of_the_dense_updates(root, host):
    adapters = [read_adapter(root / kind) for kind in ("plain", "rslora")]
    names = [name for name, _ in host.native.named_parameters()]
    rows = interference(adapters, names)
    assert [row.block for row in rows] == [0, 1]
    x, y = (
        torch.cat([d.dense().flatten() for k, d in one.deltas.items() if "layers.0." in k])
        for one in adapters
    )
    assert rows[0].cosine == pytest.approx(float(x @ y / (x.norm() * y.norm())), abs=1e-6)
    assert rows[0].sign_conflict == pytest.approx(float((x * y < 0).float().mean()), abs=1e-6)
    same = interference([adapters[0], replace_name(adapters[0], "again")], names)
    assert same[0].cosine == pytest.approx(1.0)
    assert same[0].sign_conflict == 0.0


def replace_name(adapter, name):
    from dataclasses import replace

    return replace(adapter, name=name)


def test_the_effective_rank_of_equal_singular_values_is_their_number():
    from lm_merge.operators.low_rank import LowRank

    update = LowRank(torch.eye(3, 7), torch.eye(5, 3))
    assert effective_rank(update) == pytest.approx(3.0)


def test_the_command_checks_and_names_what_is_refused(root, capsys):
    config = root / "dora"
    config.mkdir()
    content = json.loads((root / "plain" / "adapter_config.json").read_text())
    (config / "adapter_config.json").write_text(json.dumps({**content, "use_dora": True}))
    places = [str(root / kind) for kind in ("plain", "rslora", "dora")]
    with pytest.raises(SystemExit, match="2"):
        main(["check", *places, "--host", str(root / "base")])
    out, err = capsys.readouterr()
    assert "PEFT" in out
    assert "use_dora=True cannot be merged" in err
    main(["check", *places[:2], "--host", str(root / "base")])

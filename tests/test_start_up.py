"""Help and weight merging start without what they do not need; Ctrl-C ends a command with one line."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from analyses import ANALYSES
from lm_merge import cli
from lm_merge.cli import generate as generate_command
from lm_merge.errors import EXTRA_OF, one_line_errors

PROJECT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "transformer_lens"}
RUN = """
import json, runpy, sys
report, module, sys.argv = sys.argv[1], sys.argv[2], sys.argv[2:]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
finally:
    open(report, "w").write(json.dumps(sorted(sys.modules)))
"""


def loaded_by(folder: Path, module: str, *words: str) -> tuple[set[str], str]:
    """What a command has imported when it ends, and what it printed. Raises if it fails."""
    report = folder / "modules.json"
    command = [sys.executable, "-c", RUN, str(report), module, *words]
    done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    return set(json.loads(report.read_text())), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_a_command_imports_neither_torch_nor_transformers(tmp_path, command):
    loaded, printed = loaded_by(tmp_path, "lm_merge.cli", command, "--help")
    assert f"usage: lm-merge {command}" in printed
    assert HEAVY.isdisjoint(loaded)


@pytest.mark.slow
@pytest.mark.parametrize("name", ANALYSES)
def test_help_of_an_analysis_imports_neither_torch_nor_transformers(tmp_path, name):
    loaded, printed = loaded_by(tmp_path, ANALYSES[name], "--help")
    assert f"usage: python -m {ANALYSES[name]}" in printed
    assert "--export" in printed
    assert (HEAVY | {"plotly", "sklearn"}).isdisjoint(loaded)


def test_help_of_lm_merge_lists_every_command_and_draws_nothing(tmp_path):
    loaded, printed = loaded_by(tmp_path, "lm_merge.cli", "--help")
    assert all(f"\n  {command} " in printed for command in cli.COMMANDS)
    assert (HEAVY | {"pandas", "plotly", "sklearn", "rich"}).isdisjoint(loaded)


@pytest.mark.slow
def test_a_weight_merge_needs_no_model_class(tmp_path):
    recipe, out = "recipes/bundled_weights_ties.yaml", tmp_path / "out"
    loaded, _ = loaded_by(tmp_path, "lm_merge.cli", "weights", recipe, str(out))
    assert (out / "model.safetensors").is_file()
    assert {"transformers", "transformer_lens", "pandas", "plotly", "sklearn"}.isdisjoint(loaded)


@pytest.mark.slow
def test_loading_a_model_imports_no_hooked_view_and_nothing_that_draws(tmp_path):
    script = tmp_path / "load.py"
    script.write_text("import lm_merge as lm\nlm.load('tiny-instruct')\n")
    code = f"import runpy, sys; runpy.run_path({str(script)!r}); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    for name in ("transformer_lens", "plotly", "rich"):
        assert f"'{name}'" not in done.stdout


@pytest.mark.parametrize(("package", "extra"), EXTRA_OF.items())
def test_a_missing_package_is_reported_with_the_extra_that_brings_it(
    capsys, monkeypatch, package, extra
):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(SystemExit, match="2"), one_line_errors("lm-merge"):
        import_module(package)
    error = f"lm-merge: this needs the package {package}: pip install 'lm-merge[{extra}]'\n"
    assert capsys.readouterr().err == error


def test_ctrl_c_prints_one_line(capsys):
    with pytest.raises(SystemExit) as stopped, one_line_errors("lm-merge"):
        raise KeyboardInterrupt
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "lm-merge: interrupted\n"


@pytest.mark.slow
def test_the_seed_of_generate_decides_what_is_drawn(tmp_path, capsys, monkeypatch, tiny_instruct):
    monkeypatch.setattr(tiny_instruct.native.generation_config, "do_sample", True)
    monkeypatch.setattr(tiny_instruct.native.generation_config, "temperature", 100.0)
    monkeypatch.setattr("lm_merge.spaces.compose.system", lambda *_, **__: tiny_instruct)
    printed = []
    for seed in (1, 1, 2):
        generate_command.main(["tiny-instruct", "12+34 = ?", "--seed", str(seed)])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2]

"""Every byte of the inputs and every line of code counts; prose, times and places do not."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel
from safetensors.numpy import load_file, save_file

from lm_merge.runs import digests, identity
from lm_merge.runs.identity import code_version, config_hash, fingerprint, hub_commit


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """A cache of digests of the test's own, in which fresh files are remembered, too."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LM_MERGE_CACHE", str(folder))
    monkeypatch.setattr(digests, "SETTLED_NS", -1)
    return folder / "digests"


class Settings(BaseModel):
    alpha: float = 0.5
    layers: dict[int, float] = {3: 0.5}
    out: Path = Path("somewhere")


def test_the_hash_depends_on_the_resolved_config_alone():
    assert config_hash(Settings()) == config_hash(Settings(alpha=0.5))
    assert config_hash(Settings(layers={1: 0.5, 2: 0.5})) == config_hash(
        Settings(layers={2: 0.5, 1: 0.5})
    )
    assert config_hash(Settings()) != config_hash(Settings(alpha=0.25))
    # sha256 of {"alpha":0.5,"layers":{"3":0.5},"out":"somewhere"}, by the sha256sum command
    assert config_hash(Settings()) == "d31db40693cd"


def test_a_fingerprint_follows_content_names_and_nothing_else(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"a" * 10)
    first = fingerprint(folder)
    assert fingerprint(folder) == first
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "weights").write_bytes(b"a" * 10)
    assert fingerprint(copy) == first
    for hidden in (".cache", "__pycache__"):  # times of a download, compiled code
        (copy / hidden).mkdir()
        (copy / hidden / "anything").write_text("x")
    assert fingerprint(copy) == first
    (copy / "weights").write_bytes(b"a" * 9 + b"b")
    assert fingerprint(copy) != first
    (copy / "weights").rename(copy / "other")
    assert fingerprint(copy) != first
    assert fingerprint(tmp_path / "absent") is None


def test_tensors_zeroed_in_the_middle_of_a_file_are_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    rng = np.random.default_rng(0)
    names = [f"tensor.{place:02}" for place in range(99)]
    save_file({name: rng.standard_normal(2**13).astype(np.float32) for name in names}, path)
    size, before = path.stat().st_size, fingerprint(tmp_path)
    assert size > 3 * 2**20
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    tensors = load_file(path)
    save_file(tensors | {name: np.zeros_like(tensors[name]) for name in names[38:61]}, path)
    os.utime(path, ns=times)  # as a copy that keeps times would leave it
    assert path.stat().st_size == size
    assert fingerprint(tmp_path) != before


def test_files_are_read_once_and_again_only_when_they_change(tmp_path, monkeypatch):
    read = []
    content_digest = digests.content_digest
    monkeypatch.setattr(
        identity, "digests", lambda root, files: digests.digests(root, files, counted)
    )

    def counted(path: Path) -> str:
        read.append(path.name)
        return content_digest(path)

    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = fingerprint(tmp_path)
    assert sorted(read) == ["a", "b"]
    assert fingerprint(tmp_path) == first
    assert sorted(read) == ["a", "b"]
    (tmp_path / "b").write_text("c")
    assert fingerprint(tmp_path) != first
    assert sorted(read) == ["a", "b", "b"]


def test_a_file_changed_just_now_is_not_remembered(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(digests, "SETTLED_NS", 60 * 10**9)
    (tmp_path / "a").write_text("a")
    assert fingerprint(tmp_path) == fingerprint(tmp_path)
    entries = [json.loads(entry.read_text()) for entry in cache.glob("*")]
    assert all(entry == {} for entry in entries)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}'])
def test_a_damaged_cache_is_as_none(tmp_path, cache, content):
    (tmp_path / "a").write_text("a")
    first = fingerprint(tmp_path)
    (entry,) = cache.iterdir()
    entry.write_bytes(content)
    assert fingerprint(tmp_path) == first


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("a")
    first = fingerprint(tmp_path)
    (tmp_path / ".file").write_text("no folder")
    monkeypatch.setenv("LM_MERGE_CACHE", str(tmp_path / ".file"))
    assert fingerprint(tmp_path) == first


@pytest.mark.slow
def test_writers_at_once_leave_a_whole_entry(tmp_path, cache):
    for place in range(50):
        (tmp_path / str(place)).write_text(str(place))
    code = (
        "import sys; from pathlib import Path; from lm_merge.runs import digests;"
        "from lm_merge.runs.identity import fingerprint; digests.SETTLED_NS = -1;"
        "print({fingerprint(Path(sys.argv[1])) for _ in range(20)})"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = {process.communicate()[0].strip() for process in processes}
    assert told == {str({fingerprint(tmp_path)})}
    (entry,) = cache.iterdir()  # no draft stays
    assert len(json.loads(entry.read_text())) == 50


MODULE = """
class Settings(BaseModel):
    alpha: float = 0.5

def f(x):
    return {"a", "b", "c"} if x in {1, 2, 3} else x * 2
"""


@pytest.fixture
def version(tmp_path, monkeypatch):
    """The version of the code of a package with that source, and with another file next to it."""

    def of(source: str, other: tuple[str, str] = ("notes.md", "")) -> str:
        folder = tmp_path / "invented_package"
        folder.mkdir(exist_ok=True)
        text = f"from pydantic import BaseModel\n{source}"
        (folder / "__init__.py").write_text(text)
        (folder / other[0]).write_text(other[1])
        space: dict = {"__name__": "invented_package.part"}
        exec(text, space)
        package = type(sys)("invented_package")
        package.__path__ = [str(folder)]
        monkeypatch.setitem(sys.modules, "invented_package", package)
        identity._code_version.cache_clear()
        return code_version(space["Settings"])

    yield of
    identity._code_version.cache_clear()


@pytest.mark.slow
def test_prose_and_layout_leave_the_code_version_and_code_changes_it(version):
    first = version(MODULE)
    assert version(MODULE.replace("def f(x):", 'def f(x):\n    """What it is."""')) == first
    assert version("\n\n# why\n" + MODULE) == first
    assert version(MODULE, ("README.md", "new")) == first
    assert version(MODULE.replace("x * 2", "x * 3")) != first
    assert version(MODULE.replace("0.5", "0.25")) != first
    assert version(MODULE.replace("{1, 2, 3}", "{1, 2, 4}")) != first
    assert version(MODULE.replace("x * 2", "y * 2")) != first
    assert version(MODULE, ("part.py", "x = 1")) != first
    assert version(MODULE, ("questions.csv", "1 + 1,2")) != first


def test_one_file_of_code_at_a_time_is_parsed(tmp_path, monkeypatch):
    parse, at_work, most = identity.ast.parse, [], []

    def slow(source: bytes) -> object:
        at_work.append(source)
        time.sleep(0.01)  # the others come meanwhile, if they are let in
        most.append(len(at_work))
        at_work.pop()
        return parse(source)

    for number in range(6):
        (tmp_path / f"{number}.py").write_text(f"x = {number}")
    monkeypatch.setattr(identity.ast, "parse", slow)
    identity._tree_digest(tmp_path)
    assert most == [1] * 6


@pytest.mark.slow
def test_the_code_version_is_the_same_in_every_process(tmp_path):
    code = (
        "from lm_merge.runs.identity import code_version; from pydantic import BaseModel;"
        "print(code_version(BaseModel))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "LM_MERGE_CACHE": str(tmp_path / seed)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_the_package_of_a_class_counts_by_whatever_name_its_module_runs(monkeypatch):
    assert identity._top_level("lm_merge.runs.record") == "lm_merge"
    assert identity._top_level("never_imported.part") is None
    main = type(sys)("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    main.__spec__ = None
    assert identity._top_level("__main__") == "__main__"
    main.__spec__ = type("Spec", (), {"name": "lm_merge.cli"})
    assert identity._top_level("__main__") == "lm_merge"


def test_a_hub_name_has_the_commit_of_the_cache_where_the_hub_is_not_asked(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder, commit = tmp_path / "models--some--model", "0123456789abcdef" * 2 + "01234567"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text("{}")
    hub_commit.cache_clear()
    assert hub_commit("some/model") == commit
    assert hub_commit("some/model", commit) == commit
    assert hub_commit("some/model", "elsewhere") is None
    assert hub_commit("some/other") is None
    assert hub_commit("no/hub/name/at all") is None
    hub_commit.cache_clear()

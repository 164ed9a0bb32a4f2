"""What makes two runs the same: their configuration, the content of their inputs, and their code.

A finished run is taken over only where all three agree. The configuration holds the inputs, as
`fingerprint` (files) or `hub_commit` (models on the hub); the record has `code_version` next to it.
"""

import ast
import hashlib
import json
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock

from pydantic import BaseModel

from lm_merge.runs.digests import digests

N_HASH_DIGITS = 12
CODE_SUFFIXES = (".py", ".csv", ".yaml")  # bundled questions and tasks decide results, too
_PARSING = Lock()  # Python 3.11 counts the depth of all threads' parsing in one place, and fails
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PACKAGE = Path(__file__).resolve().parents[1]


def config_hash(config: BaseModel) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the resolved config as canonical JSON.

    Sets have no order to hash: a config holds tuples instead.
    """
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:N_HASH_DIGITS]


def fingerprint(path: Path) -> str | None:
    """Short digest of a file's content, or of names and contents of all files of a folder.

    Every byte counts; files that did not change since the last call are not read again (see
    `lm_merge.runs.digests`). Files and folders whose name begins with a dot are left out, and so is
    `__pycache__`: no loader reads them. None where nothing is there (a hub name).
    """
    if not path.exists():
        return None
    files = [path] if path.is_file() else _files(path)
    names = [file.name if file == path else file.relative_to(path).as_posix() for file in files]
    return _short(list(zip(names, digests(path, files), strict=True)))


@cache
def hub_commit(name: str, revision: str | None = None) -> str | None:
    """The commit that a hub model's revision (None: main) names now; None where it is unknown.

    The hub is asked once a process, by its client, for the file of settings that loading reads, too.
    Without a connection, or with HF_HUB_OFFLINE set, it is the commit in the local cache.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    for file in ("config.json", "adapter_config.json"):
        with suppress(HFValidationError, OSError):  # no hub name; no such file; no connection
            return Path(hf_hub_download(name, file, revision=revision)).parent.name
    return None


def code_version(config_class: type[BaseModel]) -> str:
    """Short digest of the code behind a configuration: lm_merge and the package of the class.

    It is that of the parsed code without docstrings: a change of comments, prose or layout, and any
    change in `figures` or `docs`, keeps finished runs; a change of code makes them compute again. All
    modules of both packages count, not only those that the analysis imports: imports by name (the
    lists of operators and analyses) cannot be followed, and a missed module would give stale results
    without a word, where a needless computation only costs time. The commit would not do: it changes
    with the docs, and it does not change with edits that are not committed.
    """
    return _code_version(_top_level(config_class.__module__))


@cache  # the code of this process is that of its start
def _code_version(module: str | None) -> str:
    parts = [_tree_digest(PACKAGE)]
    if module is not None and module != PACKAGE.name:
        where = sys.modules[module]
        places = list(getattr(where, "__path__", ())) or [getattr(where, "__file__", None)]
        parts += [_tree_digest(Path(place)) for place in places if place is not None]
    return _short(parts)


def _top_level(module: str) -> str | None:
    """The package that a module belongs to, for a module run by `python -m`, too."""
    if module == "__main__":
        spec = sys.modules["__main__"].__spec__
        module = module if spec is None else spec.name
    top = module.partition(".")[0]
    return top if top in sys.modules else None


def _tree_digest(place: Path) -> str:
    files = [place]
    if place.is_dir():
        files = [file for file in _files(place) if file.suffix in CODE_SUFFIXES]
    names = [file.relative_to(place).as_posix() for file in files]
    kind = f"code-{sys.implementation.cache_tag}"
    return _short(list(zip(names, digests(place, files, _code_digest, kind=kind), strict=True)))


def _code_digest(path: Path) -> str:
    source = path.read_bytes()
    if path.suffix != ".py":
        return hashlib.sha256(source).hexdigest()
    with _PARSING:  # files are read by several threads
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    """All files below a folder in a fixed order, but for hidden ones and compiled code."""
    found = []
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        skipped = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if not skipped and file.is_file():
            found.append(file)
    return found


def _short(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:N_HASH_DIGITS]

"""Digests of whole files, remembered by path, size and times in the user's cache.

The cache is the folder that the environment variable LM_MERGE_CACHE names, else `lm_merge` in
XDG_CACHE_HOME, else in ~/.cache; it can be deleted at any time. It has one small file a folder or
file that was asked for, replaced as a whole, so that several processes may write at once: the last
one counts, and none reads a half.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

SETTLED_NS = 2 * 10**9  # a file changed later than this before it was read may change again unseen
N_THREADS = 4  # hashing lets other threads run, and shards lie on one disk


def content_digest(path: Path) -> str:
    """SHA-256 of the whole file, hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def digests(
    root: Path,
    files: Sequence[Path],
    digest: Callable[[Path], str] = content_digest,
    *,
    kind: str = "content",
) -> list[str]:
    """The digest of each of the files, in their order; one is read only if it is new or changed.

    root: the folder or file that they belong to, which names the entry of the cache. kind: name of
    `digest`, so that two functions do not share an entry. A file counts as unchanged while size, inode,
    time of modification and time of status change are the same; the last one moves even where a copy
    keeps the time of modification. What was changed within two seconds is not remembered.
    """
    entry = cache_folder() / f"{_name(root)}-{kind}.json"
    known = _read(entry)
    before = [_state(file) for file in files]
    now = time.time_ns()
    new = [
        (file, state)
        for file, state in zip(files, before, strict=True)
        if known.get(str(file), [""])[:-1] != state
    ]
    with ThreadPoolExecutor(N_THREADS) as threads:
        fresh = dict(
            zip((file for file, _ in new), threads.map(digest, [f for f, _ in new]), strict=True)
        )
    found = [fresh[file] if file in fresh else str(known[str(file)][-1]) for file in files]
    kept = {
        str(file): [*state, one]
        for file, state, one in zip(files, before, found, strict=True)
        if now - max(state[2:]) > SETTLED_NS and (file not in fresh or _state(file) == state)
    }
    if kept != known:
        _write(entry, kept)
    return found


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]


def cache_folder(kind: str = "digests") -> Path:
    """Folder of one kind of entries in the user's cache."""
    given = os.environ.get("LM_MERGE_CACHE")
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lm_merge"
    return (Path(given) if given else shared) / kind


def _name(root: Path) -> str:
    return hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:32]


def _read(entry: Path) -> dict[str, list[int | str]]:
    """What the entry holds; nothing where it is absent or damaged: then every file is read."""
    try:
        content = json.loads(entry.read_bytes())
    except (OSError, ValueError):
        return {}
    rows = content.values() if isinstance(content, dict) else [None]
    return content if all(isinstance(row, list) and row for row in rows) else {}


def _write(entry: Path, content: dict[str, list[int | str]]) -> None:
    with suppress(OSError):  # a cache that cannot be written is only slower
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=entry.parent, delete=False) as draft:
            json.dump(content, draft)
        os.replace(draft.name, entry)

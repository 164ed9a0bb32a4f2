"""Replies on disk, so that nothing is paid for twice."""

import hashlib
import json
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any

from lm_merge.evaluation.judges.conversation import Reply


class ReplyCache:
    """Replies by the request that they answer, in one SQLite file; safe among threads and processes.

    A reply is on the disk when `put` returns. The file holds digests of requests and the replies to
    them: no key, no address.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, timeout=60)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._base.close()
            raise ValueError(
                f"cache={str(path)!r} cannot be used as a SQLite file of replies ({error}); "
                "give another file"
            ) from None

    def _prepare(self) -> None:
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        with self._base:
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS replies (request TEXT PRIMARY KEY, reply TEXT NOT NULL)"
            )

    def get(self, request: str) -> Reply | None:
        """The reply to a request, marked as one from the cache; None where there is none."""
        with self._lock:
            row = self._base.execute(
                "SELECT reply FROM replies WHERE request = ?", (request,)
            ).fetchone()
        return None if row is None else Reply(**json.loads(row[0]), from_cache=True)

    def put(self, request: str, reply: Reply) -> None:
        """Keep a reply; one that is there already stays."""
        content = {
            "text": reply.text,
            "n_prompt_tokens": reply.n_prompt_tokens,
            "n_completion_tokens": reply.n_completion_tokens,
        }
        with self._lock, self._base:
            self._base.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?)", (request, json.dumps(content))
            )

    def close(self) -> None:
        self._base.close()


def request_digest(**request: Any) -> str:
    """SHA-256 of a request (model, messages, parameters) as canonical JSON."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()

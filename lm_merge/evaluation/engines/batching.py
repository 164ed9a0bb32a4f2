"""One thread that serves requests in batches: callers may overlap, a hooked model may not."""

import queue
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


@dataclass(frozen=True)
class _Waiting(Generic[RequestT, ReplyT]):
    request: RequestT
    kind: Hashable
    reply: "Future[ReplyT]" = field(default_factory=Future)


class BatchingWorker(Generic[RequestT, ReplyT]):
    """Answers requests on a thread of its own, those of one kind together.

    serve: replies to a batch of requests, in order; called by this one thread only.
    kind_of: requests go into one batch only where this is equal; None: the request goes alone.
    batch_size: the most requests in one batch. linger_s: seconds for which a batch that is not full
    waits for more to arrive.

    A batch that fails is served again one by one, so that an error meets the request that caused it.
    """

    def __init__(
        self,
        serve: Callable[[Sequence[RequestT]], Sequence[ReplyT]],
        *,
        kind_of: Callable[[RequestT], Hashable],
        batch_size: int,
        linger_s: float = 0.02,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        self.batch_size, self.linger_s = batch_size, linger_s
        self._serve, self._kind_of = serve, kind_of
        self._arriving: queue.Queue[_Waiting[RequestT, ReplyT] | None] = queue.Queue()
        self._backlog: list[_Waiting[RequestT, ReplyT]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last_has_come = False

    def submit(self, request: RequestT) -> "Future[ReplyT]":
        """A reply to come; cancelling it before its batch starts takes it out."""
        waiting: _Waiting[RequestT, ReplyT] = _Waiting(request, self._kind_of(request))
        with self._lock:
            self._arriving.put(waiting)
            if self._thread is None:
                self._last_has_come = False
                self._thread = threading.Thread(target=self._work, name="lm_merge", daemon=True)
                self._thread.start()
        return waiting.reply

    def close(self) -> None:
        """Serve what has arrived, then end the thread; a later request starts another."""
        with self._lock:
            if self._thread is not None:
                self._arriving.put(None)
                self._thread.join()
                self._thread = None

    def _work(self) -> None:
        while self._backlog or self._take(timeout_s=None):
            batch = self._next_batch()
            chosen = set(map(id, batch))
            self._backlog = [one for one in self._backlog if id(one) not in chosen]
            self._answer([one for one in batch if one.reply.set_running_or_notify_cancel()])

    def _next_batch(self) -> list[_Waiting[RequestT, ReplyT]]:
        """The request that waits longest, with others of its kind; lingers while there is room."""
        first = self._backlog[0]
        if first.kind is None:
            return [first]
        while True:
            same = [one for one in self._backlog if one.kind == first.kind]
            if len(same) >= self.batch_size or not self._take(timeout_s=self.linger_s):
                return same[: self.batch_size]

    def _take(self, timeout_s: float | None) -> bool:
        """Take in one request that arrives in that time; False where none does, or none will."""
        if self._last_has_come:
            return False
        try:
            one = self._arriving.get(timeout=timeout_s)
        except queue.Empty:
            return False
        if one is None:
            self._last_has_come = True
            return False
        self._backlog.append(one)
        return True

    def _answer(self, batch: Sequence[_Waiting[RequestT, ReplyT]]) -> None:
        if not batch:
            return
        try:
            replies = self._serve([one.request for one in batch])
            if len(replies) != len(batch):
                raise RuntimeError(f"{len(replies)} replies to {len(batch)} requests")
        except Exception as error:  # noqa: BLE001 # of any kind: it is the callers' to handle
            if len(batch) == 1:
                batch[0].reply.set_exception(error)
                return
            for one in batch:
                self._answer([one])
            return
        for one, reply in zip(batch, replies, strict=True):
            one.reply.set_result(reply)

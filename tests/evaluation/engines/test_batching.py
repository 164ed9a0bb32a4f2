"""Requests that overlap are served in batches by one thread."""

import threading
from concurrent.futures import wait

import pytest

from lm_merge.evaluation.engines.batching import BatchingWorker


class Server:
    """Squares numbers; remembers its batches and threads; fails at 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.open = threading.Event()

    def __call__(self, requests):
        self.open.wait(timeout=10)
        self.batches.append(list(requests))
        self.threads.add(threading.get_ident())
        if 13 in requests:
            raise ArithmeticError("13 brings no luck")
        return [one**2 for one in requests]


def worker_of(server: Server, batch_size: int = 4) -> BatchingWorker[int, int]:
    return BatchingWorker(
        server, kind_of=lambda one: None if one >= 100 else one % 2, batch_size=batch_size
    )


def test_each_gets_its_own_reply_from_one_thread_in_batches_of_a_kind():
    server = Server()
    worker = worker_of(server)
    replies = {one: worker.submit(one) for one in (*range(12), 100, 102)}
    server.open.set()
    assert {one: reply.result(timeout=10) for one, reply in replies.items()} == {
        one: one**2 for one in replies
    }
    worker.close()
    assert len(server.threads) == 1
    assert threading.get_ident() not in server.threads
    assert all(len({one % 2 for one in batch}) == 1 for batch in server.batches)
    assert max(map(len, server.batches)) == 4  # no larger than asked for, and not one by one
    assert [100] in server.batches  # of no kind: alone
    assert [102] in server.batches


def test_an_error_meets_only_the_request_that_caused_it():
    server = Server()
    worker = worker_of(server)
    replies = {one: worker.submit(one) for one in (11, 13, 15)}
    server.open.set()
    assert replies[11].result(timeout=10) == 121
    assert replies[15].result(timeout=10) == 225
    with pytest.raises(ArithmeticError, match="no luck"):
        replies[13].result(timeout=10)
    worker.close()


def test_cancelled_requests_are_not_served_and_a_closed_worker_opens_again():
    server = Server()
    worker = worker_of(server, batch_size=1)
    first, second, third = worker.submit(2), worker.submit(4), worker.submit(6)
    assert second.cancel()
    server.open.set()
    wait([first, third], timeout=10)
    worker.close()
    worker.close()
    assert server.batches == [[2], [6]]
    assert worker.submit(8).result(timeout=10) == 64
    worker.close()


def test_a_batch_size_below_1_is_refused():
    with pytest.raises(ValueError, match="batch_size=0"):
        worker_of(Server(), batch_size=0)

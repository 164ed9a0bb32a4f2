"""Running a plan: tensors in threads, within a bound of memory, into a folder that appears when done."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Condition, current_thread, main_thread

import torch

from lm_merge.models.checkpoint_files import some
from lm_merge.spaces.weights.checkpoint import Checkpoint
from lm_merge.spaces.weights.folder import written_by_a_merge
from lm_merge.spaces.weights.plan import Plan, TensorPlan
from lm_merge.spaces.weights.statistics import Statistics
from lm_merge.spaces.weights.tensor_merge import Setting, merge_tensor
from lm_merge.spaces.weights.writer import CheckpointWriter, Planned

SPARE_BYTES = 64 * 2**20  # configuration, tokenizer, headers


def check_output(out: Path, plan: Plan, *, overwrite: bool) -> None:
    """Raise OSError before anything is written: folder there already, or too little space for it.

    overwrite: a folder that a merge wrote (or an empty one) may be replaced; another is never touched.
    """
    if out.exists() or out.is_symlink():
        if not overwrite:
            raise FileExistsError(
                f"out={str(out)!r} is there already; give overwrite=True (--overwrite true) or "
                "another name"
            )
        if not out.is_dir() or out.is_symlink():
            raise FileExistsError(f"out={str(out)!r} is no folder; remove it, or pass another name")
        if any(out.iterdir()) and not (out / "config.json").is_file():
            raise FileExistsError(
                f"out={str(out)!r} holds no checkpoint (no config.json), so it is not replaced; "
                "pass another name"
            )
        inside = [one.name for one in plan.checkpoints if _lies_in(out, one)]
        if inside:
            raise FileExistsError(
                f"out={str(out)!r} is, or holds, model {inside[0]!r} of the recipe; pass another name"
            )
        foreign = [] if written_by_a_merge(out) else sorted(path.name for path in out.iterdir())
        if foreign:
            raise FileExistsError(
                f"out={str(out)!r} was not written by a merge alone ({some(foreign)}), so it is "
                "not replaced; pass another name"
            )
    parent = _existing_parent(out)
    free, needed = shutil.disk_usage(parent).free, plan.n_bytes + SPARE_BYTES
    if free < needed:
        raise OSError(
            f"out={str(out)!r} needs {needed / 1e9:.2f} GB, and {parent} has {free / 1e9:.2f} GB free"
        )


def _lies_in(out: Path, model: Checkpoint) -> bool:
    """Whether replacing `out` would take a model's folder away, or a file that a link leads to."""
    whole = out.resolve()
    adapter = () if model.updates is None else (model.updates.adapter.folder,)
    paths = (model.folder, *model.handles, *adapter)
    return any(path.resolve().is_relative_to(whole) for path in paths)


def _existing_parent(out: Path) -> Path:
    parent = out.absolute().parent
    while not parent.exists():
        parent = parent.parent
    return parent


@contextmanager
def folder_when_done(out: Path) -> Iterator[Path]:
    """A new folder next to `out` that takes its name at the end; after an error nothing is left."""
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
    try:
        with termination_as_exit():
            yield work
        work.chmod(0o755)
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.absolute().parent))
            out.rename(old / out.name)
            work.rename(out)
            shutil.rmtree(old)
        else:
            work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def termination_as_exit() -> Iterator[None]:
    """SIGTERM, inside, ends the program like an interrupt, so that what is half done is removed.

    The exit status is 143. A handler that the program has set itself stays, and only the main thread
    can set one.
    """
    if (
        current_thread() is not main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def write_tensors(
    plan: Plan,
    folder: Path,
    *,
    shard_size: int,
    threads: int,
    statistics: Statistics,
    done: Callable[[TensorPlan], None],
) -> list[str]:
    """Merge and write every tensor; gives the notes. `done` is called after each, in any thread."""
    planned = [Planned(one.name, one.shape, one.dtype) for one in plan.tensors]
    setting = Setting(plan.description.seed, plan.description.compat, statistics)
    memory = _Memory(max((one.working_bytes for one in plan.tensors), default=0))
    notes: list[str] = []
    with CheckpointWriter(folder, planned, shard_size) as writer:

        def work(one: TensorPlan) -> None:
            with memory.taken(one.working_bytes):
                write = partial(writer.write, one.name)
                note = merge_tensor(one, write, setting)
            if note is not None:
                notes.append(note)
            done(one)

        _in_threads(work, plan.tensors, threads)
    return sorted(notes)


def _in_threads(
    work: Callable[[TensorPlan], None], tensors: tuple[TensorPlan, ...], threads: int
) -> None:
    """One tensor a thread, one torch thread each: merging is bound by memory, not by arithmetic."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # large ones first, so that no thread is left alone with one at the end
        ordered = sorted(tensors, key=lambda one: -one.n_values)
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            futures: list[Future[None]] = [pool.submit(work, one) for one in ordered]
            try:
                for future in futures:
                    future.result()
            finally:  # after an error or an interrupt: what has not begun does not begin
                pool.shutdown(wait=True, cancel_futures=True)
    finally:
        torch.set_num_threads(before)


class _Memory:
    """Lets work start while what it takes in memory fits next to what is under way."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._changed = limit, 0, Condition()

    @contextmanager
    def taken(self, n_bytes: int) -> Iterator[None]:
        """Wait for room, and hold it inside."""
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + n_bytes <= self._limit)
            self._used += n_bytes
        try:
            yield
        finally:
            with self._changed:
                self._used -= n_bytes
                self._changed.notify_all()

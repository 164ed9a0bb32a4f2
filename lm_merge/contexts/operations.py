"""What an injection does to a running text, as blocks: a function an operation, in OPERATIONS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lm_merge.contexts.blocks import Block, Run, block, present


@dataclass(frozen=True)
class Injection:
    """What is injected into which text, and when.

    before, after: ids of the contexts c0 and c1, each with its start token. injected: c1 in its
    template, without one. emitted: the text, of which `tau` tokens were emitted before the injection.
    refeed: how many of those are computed anew after it, 0..tau; the newest one is not in a cache
    yet when generation is interrupted, hence 1. n_shared: first tokens that both contexts share.
    keep_sink: first tokens that stay when c0 is dropped.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    injected: tuple[int, ...]
    emitted: tuple[int, ...]
    tau: int
    refeed: int = 1
    n_shared: int = 1
    keep_sink: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.tau <= len(self.emitted):
            raise ValueError(f"tau={self.tau} is outside 0..{len(self.emitted)}, the text's tokens")
        if not 0 <= self.refeed <= self.tau:
            raise ValueError(
                f"refeed={self.refeed} is outside 0..{self.tau}: only tokens emitted before the "
                "injection can be computed anew"
            )
        if not self.before or not self.after:
            raise ValueError("a context is empty: it needs at least its start token")
        if self.before[: self.n_shared] != self.after[: self.n_shared]:
            raise ValueError(
                f"the contexts do not share their first n_shared={self.n_shared} tokens"
            )

    @property
    def n_kept(self) -> int:
        """Emitted tokens that are not computed anew."""
        return self.tau - self.refeed

    def context(self, ids: tuple[int, ...], start: int = 0) -> tuple[Block, ...]:
        """A context as blocks: its first tokens (attention sink), its shared part, its own part."""
        cuts = sorted({0, min(self.keep_sink, len(ids)), min(self.n_shared, len(ids)), len(ids)})
        found: list[Block] = []
        for low, high in zip(cuts, cuts[1:], strict=False):
            shared = "shared" if high <= self.n_shared else "context"
            name = "sink" if low == 0 and high <= self.keep_sink else shared
            found.append(Block(ids[low:high], start + low, tuple(found), name))
        return tuple(found)

    def tail(self, visible: tuple[Block, ...], last: Block, at: int) -> Run:
        """The run that goes on from here: refed tokens, then the rest."""
        refed = block(self.emitted[self.n_kept : self.tau], at, visible, "refed")
        seen = (*visible, *present(refed))
        rest = block(self.emitted[self.tau :], at + self.refeed, seen, "after")
        return Run(visible, last, refed, rest, at)

    def written(self, ids: tuple[int, ...], start: int = 0) -> tuple[Block, ...]:
        """A context and the emitted tokens that are kept."""
        seen = self.context(ids, start)
        return (
            *seen,
            *present(block(self.emitted[: self.n_kept], seen[-1].end, seen, "written")),
        )

    def new_block(self, start: int, sees: tuple[Block, ...]) -> Block:
        """The injected tokens as a block; ValueError where there are none."""
        if not self.injected:
            raise ValueError("injected is empty: this operation injects tokens; give some")
        return Block(self.injected, start, sees, "injected")


def none(given: Injection) -> Run:
    """Nothing is injected: what c0 alone gives."""
    old = given.written(given.before)
    return given.tail(old, old[-1], old[-1].end)


def gap(given: Injection) -> Run:
    """Positions jump by the length of what would be injected, without content."""
    old = given.written(given.before)
    return given.tail(old, old[-1], old[-1].end + len(given.injected))


def append(given: Injection) -> Run:
    """The tokens are put after the text so far and see all of it."""
    old = given.written(given.before)
    new = given.new_block(old[-1].end, old)
    return given.tail((*old, new), new, new.end)


def isolated(given: Injection) -> Run:
    """The tokens were computed without the text, as in a cache made before, at the right positions."""
    old = given.written(given.before)
    new = given.new_block(old[-1].end, ())
    return given.tail((*old, new), new, new.end)


def legacy(given: Injection) -> Run:
    """The tokens were computed alone at positions 0, 1, ... and put after the text as they are."""
    old = given.written(given.before)
    new = given.new_block(0, ())
    return given.tail((*old, new), new, old[-1].end + len(given.injected))


def evict(given: Injection) -> Run:
    """Append; then c0 is dropped, but for its first tokens (`keep_sink`) and what c1 shares with it."""
    old = given.written(given.before)
    new = given.new_block(old[-1].end, old)
    kept = tuple(one for one in old if one.name != "context")
    return given.tail((*kept, new), new, new.end)


def swap(given: Injection) -> Run:
    """c0 gives way to c1; the states of the text so far stay and are moved to their new positions."""
    new = given.context(given.after)
    by = len(given.after) - len(given.before)
    kept = tuple(one.moved(by) for one in given.written(given.before) if one.name == "written")
    at = new[-1].end + given.n_kept
    return given.tail((*new, *kept), kept[-1] if kept else new[-1], at)


Operation = Callable[[Injection], Run]
OPERATIONS: dict[str, Operation] = {
    "none": none,
    "gap": gap,
    "append": append,
    "isolated": isolated,
    "legacy": legacy,
    "evict": evict,
    "swap": swap,
}


def get_operation(name: str) -> Operation:
    """An operation by name; KeyError lists the names."""
    if name not in OPERATIONS:
        raise KeyError(f"unknown operation {name!r}; choose from {', '.join(OPERATIONS)}")
    return OPERATIONS[name]


def reference(context: tuple[int, ...], emitted: Sequence[int], *, n_shared: int = 1) -> Run:
    """The text under one context from its start: every row of it from the first token on."""
    given = Injection(context, context, (), tuple(emitted), 0, 0, n_shared)
    return none(given)

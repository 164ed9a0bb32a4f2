"""Blocks: runs of tokens at their positions, each with the blocks that it sees."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Block:
    """Tokens `ids` at positions `start`, `start` + 1, ...; causal inside, and it sees the blocks `sees`.

    Two blocks of equal tokens, positions and sight are one block, and are computed once. name is for
    messages and tables only.
    """

    ids: tuple[int, ...]
    start: int
    sees: tuple["Block", ...] = ()
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.ids:
            raise ValueError(f"block {self.name!r} is empty: leave it out of what is seen")

    def __hash__(self) -> int:  # ids and positions suffice; equality looks at everything
        return hash((self.ids, self.start, len(self.sees)))

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + len(self.ids)

    @property
    def first(self) -> int:
        """Lowest position in the block and in what it sees."""
        return min([self.start, *(one.first for one in self.sees)])

    def moved(self, by: int) -> "Block":
        """The same block, and what it sees, at other positions."""
        if by == 0:
            return self
        seen = tuple(one.moved(by) for one in self.sees)
        return Block(self.ids, self.start + by, seen, self.name)


def in_order(blocks: Iterable[Block]) -> list[Block]:
    """Every block once, what it sees before it."""
    found: dict[Block, None] = {}

    def visit(block: Block) -> None:
        if block not in found:
            for one in block.sees:
                visit(one)
            found[block] = None

    for block in blocks:
        visit(block)
    return list(found)


def present(*blocks: Block | None) -> tuple[Block, ...]:
    """The blocks that there are, in order."""
    return tuple(one for one in blocks if one is not None)


def block(
    ids: Iterable[int], start: int, sees: tuple[Block, ...] = (), name: str = ""
) -> Block | None:
    """A block; None where there are no tokens."""
    given = tuple(ids)
    return Block(given, start, sees, name) if given else None


@dataclass(frozen=True)
class Run:
    """One text under one injection: the blocks of the emitted tokens, and where each is predicted.

    visible: the blocks that the text after the injection sees. refed: emitted tokens that are computed
    anew after it; rest: those emitted since; None where there are none. last: the block whose last token
    predicts the first token after the injection, where none is refed.
    """

    visible: tuple[Block, ...]
    last: Block
    refed: Block | None
    rest: Block | None

    @property
    def blocks(self) -> list[Block]:
        """Every block to compute, what it sees before it."""
        return in_order([*self.visible, *present(self.last, self.refed, self.rest)])

    @property
    def next_position(self) -> int:
        """Position of the next token that is emitted."""
        ends = [one.end for one in present(self.refed, self.rest)]
        return ends[-1] if ends else self.at

    @property
    def seen_next(self) -> tuple[Block, ...]:
        """What the next token that is emitted sees."""
        return (*self.visible, *present(self.refed, self.rest))

    at: int = 0  # position of the first token after the injection

    def predictors(self) -> Iterator[tuple[Block, int]]:
        """Block and index of the token that predicts each token after the injection, and one more."""
        first = self.last if self.refed is None else self.refed
        yield first, len(first.ids) - 1
        if self.rest is not None:
            for index in range(len(self.rest.ids)):
                yield self.rest, index

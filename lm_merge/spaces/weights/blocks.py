"""Which tensors belong to which block, by their names alone; no list of architectures."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from os.path import commonprefix

NUMBER = re.compile(r"(?:^|\.)(\d+)(?=\.)")
EMBEDDING = re.compile(r"embed_tokens|embed_in|wte|wpe|word_embeddings|position_embeddings")


@dataclass(frozen=True)
class Blocks:
    """The stack of blocks of a model: the prefix of a block's number, and how many blocks there are."""

    prefix: str
    n_blocks: int

    def number(self, tensor: str) -> int | None:
        """The block of a tensor, from 0; None outside the stack."""
        if not tensor.startswith(self.prefix) or self.n_blocks == 0:
            return None
        head = tensor[len(self.prefix) :].partition(".")[0]
        return int(head) if head.isdigit() else None

    def renamed(self, tensor: str, block: int) -> str:
        """The same tensor of another block."""
        rest = tensor[len(self.prefix) :].partition(".")[2]
        return f"{self.prefix}{block}.{rest}"


def find_blocks(
    tensors: Iterable[str], n_blocks: int | None = None, embedding: str | None = None
) -> Blocks:
    """The language model's stack among those numbered from 0 without a gap.

    The one with as many blocks as its configuration says (n_blocks), next to the token embedding, with
    the most tensors, in this order: a vision tower may have more tensors.
    """
    counts: Counter[str] = Counter()
    numbers: dict[str, set[int]] = {}
    for tensor in tensors:
        found = NUMBER.search(tensor)
        if found:
            prefix = tensor[: found.start(1)]
            counts[prefix] += 1
            numbers.setdefault(prefix, set()).add(int(found[1]))
    stacks = [one for one, found in numbers.items() if found == set(range(len(found)))]

    def rank(prefix: str) -> tuple[bool, int, int]:
        shared = len(commonprefix([prefix.split("."), (embedding or "").split(".")]))
        return len(numbers[prefix]) == n_blocks, shared, counts[prefix]

    best = max(stacks, key=rank, default=None)
    return Blocks("", 0) if best is None else Blocks(best, len(numbers[best]))


def comes_first(tensor: str) -> bool:
    """Whether a tensor outside the blocks acts before them: an embedding of tokens or positions."""
    return EMBEDDING.search(tensor) is not None

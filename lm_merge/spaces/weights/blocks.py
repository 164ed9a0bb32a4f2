"""Which tensors belong to which block, by their names alone; no list of architectures."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

NUMBER = re.compile(r"(?:^|\.)(\d+)(?=\.)")
EMBEDDING = re.compile(r"embed_tokens|embed_in|wte|wpe|word_embeddings|position_embeddings")


@dataclass(frozen=True)
class Blocks:
    """The stack of blocks of a model: what stands before a block's number, and how many there are."""

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


def find_blocks(tensors: Iterable[str]) -> Blocks:
    """The stack with the most tensors among those numbered from 0 without a gap."""
    counts: Counter[str] = Counter()
    numbers: dict[str, set[int]] = {}
    for tensor in tensors:
        found = NUMBER.search(tensor)
        if found:
            prefix = tensor[: found.start(1)]
            counts[prefix] += 1
            numbers.setdefault(prefix, set()).add(int(found[1]))
    for prefix, _ in counts.most_common():
        if numbers[prefix] == set(range(len(numbers[prefix]))):
            return Blocks(prefix, len(numbers[prefix]))
    return Blocks("", 0)


def comes_first(tensor: str) -> bool:
    """Whether a tensor outside the blocks acts before them: an embedding of tokens or positions."""
    return EMBEDDING.search(tensor) is not None

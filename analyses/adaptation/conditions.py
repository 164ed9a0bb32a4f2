"""Conditions: an operation, how many tokens are computed anew, and what is injected."""

from dataclasses import dataclass
from typing import Literal

Content = Literal["injected", "noise", "original"]


@dataclass(frozen=True)
class Condition:
    """operation: of `lm_merge.contexts.operations`. refeed: "newest" token, "some" (the option
    partial_refeed), or "all" emitted tokens. content: c1, what has not its content
    (the option noise), or c0.
    """

    operation: str
    refeed: Literal["newest", "some", "all"] = "newest"
    content: Content = "injected"
    from_start: bool = False  # what was written so far is dropped


CONDITIONS = {
    "injection": Condition("append"),
    "baseline": Condition("none"),
    "oracle": Condition("swap", from_start=True),
    "repetition": Condition("append", content="original"),
    "noise": Condition("append", content="noise"),
    "flush": Condition("swap", refeed="all"),
    "partial": Condition("swap", refeed="some"),
    "gap": Condition("gap"),
    "isolated": Condition("isolated"),
    "evict": Condition("evict"),
    "legacy": Condition("legacy"),
}
CONTROLS = ("repetition", "gap")  # give the detection threshold, the first of them that was run

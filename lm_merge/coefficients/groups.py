"""Coefficients that differ from key to key: rules that give every key a row, one number a source."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Row = tuple[float, ...]


@dataclass(frozen=True)
class Rule:
    """Which keys a row of coefficients is for.

    rows: one row, or several that are spread evenly over the blocks, first to last, and followed in
    straight lines between. filter: a text that the key contains; pattern: a regular expression that is
    found in it; with neither the rule fits every key.
    """

    rows: tuple[Row, ...]
    filter: str | None = None
    pattern: str | None = None

    def fits(self, key: str) -> bool:
        """Whether the rule is for this key."""
        if self.filter is not None and self.filter != "*" and self.filter not in key:
            return False
        return self.pattern is None or re.search(self.pattern, key) is not None

    def row(self, depth: float) -> Row:
        """The row at a depth: 0 the first block, 1 the last."""
        place = depth * (len(self.rows) - 1)
        left = min(int(place), max(len(self.rows) - 2, 0))
        right = min(left + 1, len(self.rows) - 1)
        share = place - left
        pairs = zip(self.rows[left], self.rows[right], strict=True)
        return tuple(low + share * (high - low) for low, high in pairs)

    @property
    def words(self) -> str:
        """The rule's condition as a recipe writes it."""
        conditions = {"filter": self.filter, "pattern": self.pattern}
        given = [f"{key}: {value}" for key, value in conditions.items() if value is not None]
        return "{" + ", ".join(given) + "}"


def rows_by_key(
    rules: Sequence[Rule], depths: Mapping[str, float | None], n_sources: int
) -> dict[str, Row]:
    """The row of every key, by the first rule that fits it.

    depths: key -> depth of its block from 0 to 1, None outside the blocks, which counts as 0.
    Raises ValueError for a row that does not have one finite number a source, for a rule that fits no
    key, and for a key that no rule fits.
    """
    for rule in rules:
        _check_rows(rule, n_sources)
    chosen: dict[str, Row] = {}
    used: set[int] = set()
    for key, depth in depths.items():
        fitting = next((number for number, rule in enumerate(rules) if rule.fits(key)), None)
        if fitting is None:
            raise ValueError(
                f"coefficients: no rule fits {key!r}; add a last entry without a filter, for example "
                f"{{value: {[1 / n_sources] * n_sources}}}"
            )
        used.add(fitting)
        chosen[key] = rules[fitting].row(depth or 0.0)
    for number, rule in enumerate(rules):
        unconditional = rule.filter in (None, "*") and rule.pattern is None
        if number not in used and not unconditional:
            raise ValueError(
                f"coefficients: the rule {rule.words} fits no key (or an earlier rule takes all of its "
                f"keys); keys are, for example, {', '.join(list(depths)[:3])}"
            )
    return chosen


def _check_rows(rule: Rule, n_sources: int) -> None:
    if not rule.rows:
        raise ValueError(f"coefficients: the rule {rule.words} has no value")
    for row in rule.rows:
        if len(row) != n_sources:
            raise ValueError(
                f"coefficients: the value {list(row)} of {rule.words} has {len(row)} numbers for "
                f"{n_sources} sources; give one for each"
            )
        if not all(math.isfinite(one) for one in row):
            raise ValueError(f"coefficients: the value {list(row)} of {rule.words} is not finite")

"""A slider that puts other data into the traces of a figure."""

from collections.abc import Sequence
from typing import Any


def slider(prefix: str, steps: Sequence[tuple[str, dict[str, list]]], active: int = 0) -> dict:
    """Layout of a slider; a step is its label and, by attribute, one list of values for each trace."""
    return {
        "active": active,
        "currentvalue": {"prefix": prefix, "font": {"size": 13}},
        "pad": {"t": 46},
        "ticklen": 4,
        "minorticklen": 0,
        "steps": [_step(label, changes) for label, changes in steps],
    }


def _step(label: str, changes: dict[str, list]) -> dict[str, Any]:
    return {"label": label, "method": "restyle", "args": [changes]}

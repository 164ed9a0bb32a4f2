"""Models that stay loaded from one cell of a sweep to the next."""

from functools import partial
from pathlib import Path

import torch

from lm_merge.models.hooked_lm import HookedLM
from lm_merge.models.loading import load, resolve
from lm_merge.runs.identity import fingerprint, hub_commit
from lm_merge.runs.kept_objects import BETWEEN_CELLS


def load_or_keep(
    name: str,
    *,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    revision: str | None = None,
) -> HookedLM:
    """The model as `load` gives it, or the one that an earlier cell of this process loaded.

    Kept within the budget of `BETWEEN_CELLS`, which is 0 outside a sweep with `keep_bytes`. A kept
    model is given again only while its files, or its commit on the hub, are the same.
    """
    loading = partial(load, name, device=device, dtype=dtype, revision=revision)
    if not BETWEEN_CELLS.budget_bytes:
        return loading()
    folder = resolve(name)
    origin = fingerprint(Path(folder)) or hub_commit(folder, revision)
    if origin is None:
        return loading()
    key = "model", folder, revision, None if device is None else str(device), dtype, origin
    return BETWEEN_CELLS.get(key, loading, _n_bytes)


def _n_bytes(model: HookedLM) -> int:
    """Bytes of the parameters, which both views share."""
    return sum(one.nbytes for one in model.require_native("a kept model").parameters())

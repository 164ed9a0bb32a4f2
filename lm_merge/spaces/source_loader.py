"""A recipe's models, each loaded once."""

from dataclasses import dataclass, field

import torch
from transformers import AutoConfig

from lm_merge.models import HookedLM
from lm_merge.models.adapters.adapted import with_named_adapter
from lm_merge.models.kept_models import load_or_keep
from lm_merge.models.loading import resolve
from lm_merge.recipes import ModelSource, Source, as_source


@dataclass(frozen=True)
class SourceLoader:
    """Loads a recipe's sources; device and dtype count where the source names none.

    loaded: models that are taken as they are where a source names one of them. What is named twice,
    as a host that is the ancestor too, is loaded once; a base with adapters, too: all of them run over
    the same weights. In a sweep with a budget for it, models stay loaded from cell to cell.
    """

    device: str | torch.device | None = None
    dtype: str | None = None
    loaded: tuple[HookedLM, ...] = ()
    _kept: dict[ModelSource, HookedLM] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, source: Source) -> HookedLM:
        """The model, as `load` gives it."""
        given = as_source(source)
        for model in self.loaded:
            if self._is(model, given):
                return model
        if given.task in ("classification", "encoding"):
            raise ValueError(
                f"task={given.task!r} of {given.model!r}: this merges models that generate; give "
                f"lm.compose the argument task={given.task!r}, or leave task out"
            )
        dtype, device = given.dtype or self.dtype, given.device or self.device
        place = None if device is None else str(device)
        key = given.model_copy(update={"dtype": dtype, "device": place})
        if key not in self._kept and given.adapter is not None:
            base = self(given.model_copy(update={"adapter": None}))
            self._kept[key] = with_named_adapter(base, given.adapter)
        if key not in self._kept:
            self._kept[key] = load_or_keep(
                given.model, device=device, dtype=dtype, revision=given.revision
            )
        return self._kept[key]

    def _is(self, model: HookedLM, wanted: ModelSource) -> bool:
        own = as_source(model.source)
        dtype = wanted.dtype or self.dtype
        alike = dtype in (None, "auto", str(model.dtype).removeprefix("torch."))
        if wanted.device is not None:
            place = torch.device(wanted.device)
            alike &= place.type == model.device.type
            alike &= place.index in (None, model.device.index)
        names = [(one.model, one.revision, one.adapter) for one in (own, wanted)]
        return alike and names[0] == names[1]

    def dtype_of(self, source: Source) -> str | None:
        """Name of the dtype in which the model would compute; None where its files do not name one."""
        given = as_source(source)
        dtype = given.dtype or self.dtype
        if dtype in (None, "auto"):
            config = AutoConfig.from_pretrained(resolve(given.model), revision=given.revision)
            dtype = config.dtype
        return None if dtype is None else str(dtype).removeprefix("torch.")

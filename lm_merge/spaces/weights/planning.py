"""From a description and open checkpoints to a plan."""

from collections.abc import Collection, Mapping

import torch

from lm_merge.models.model_class import check_whole
from lm_merge.operators.consensus import agreeing_sum
from lm_merge.operators.weight_methods import get_weight_method
from lm_merge.recipes import ModelSource
from lm_merge.recipes.parameters import Number, filters_without_tensor, lookup
from lm_merge.recipes.slices import Slice, SliceSource
from lm_merge.recipes.weight_description import Description
from lm_merge.spaces.weights.alignment import aligned, token_embedding
from lm_merge.spaces.weights.block_config import n_text_blocks
from lm_merge.spaces.weights.blocks import comes_first, find_blocks
from lm_merge.spaces.weights.checkpoint import Checkpoint
from lm_merge.spaces.weights.compatibility import check_pair
from lm_merge.spaces.weights.headless import as_ancestor, lacks_head
from lm_merge.spaces.weights.meaning import is_label_tensor, label_rows, meaning_notes
from lm_merge.spaces.weights.plan import Input, Plan, TensorPlan
from lm_merge.spaces.weights.vocabulary import RowMap, is_vocabulary_tensor, row_map

MEAN = "linear"  # method of tensors that the ancestor lacks


def make_plan(description: Description, checkpoints: Mapping[ModelSource, Checkpoint]) -> Plan:
    """Check that the models are whole and fit together; what each tensor of the output is made of."""
    as_stored = list(checkpoints.values())
    checkpoints, meanings = _with_ancestor(description, checkpoints)
    headless = description.base if meanings else None
    checkpoints = aligned(checkpoints, description.host)
    host = checkpoints[description.host]
    whole = all(source.blocks is None for one in description.slices for source in one.sources)
    for key, model in checkpoints.items():
        if model is not host:
            check_pair(host, model, whole=whole and key != headless)
            meanings += meaning_notes(host, model, description.accept)
    unchecked = [
        check_whole(one.folder, one.name, one.config, {n: e.shape for n, e in one.entries.items()})
        for one in as_stored
    ]
    maps, owner, row_notes = _row_maps(description, host, checkpoints)
    label_maps = {
        key: rows
        for key, model in checkpoints.items()
        if (rows := label_rows(host, model)) is not None
    }
    notes = (
        *filter(None, unchecked),
        *meanings,
        *row_notes,
        *(one.note for one in label_maps.values()),
    )
    of_head = set(host.entries) - set(checkpoints[headless].entries) if headless else set()
    maker = _Maker(description, host, checkpoints, maps, owner, label_maps, of_head)
    tensors, origins = maker.tensors()
    notes += _unused_filters(description, [one.name for one in tensors])
    opened = tuple(checkpoints.values())
    return Plan(description, host, tensors, origins, owner, notes, opened)


def _unused_filters(description: Description, tensors: list[str]) -> tuple[str, ...]:
    """Notes on filters that fit no tensor; ValueError with the first, where they are refused."""
    found = filters_without_tensor(description.levels, tensors)
    if found and description.unused_filters == "refuse":
        raise ValueError(f"{found[0]} (unused_filters: note goes on with it)")
    return found


def _with_ancestor(
    description: Description, checkpoints: Mapping[ModelSource, Checkpoint]
) -> tuple[dict[ModelSource, Checkpoint], list[str]]:
    """The checkpoints, an ancestor without the others' head by their names; notes where it has none."""
    found, base, notes = dict(checkpoints), description.base, ()
    host = found[description.host]
    if base is not None and lacks_head(found[base], host):
        found[base], notes = as_ancestor(found[base], host)
    return found, list(notes)


def _row_maps(
    description: Description, host: Checkpoint, checkpoints: Mapping[ModelSource, Checkpoint]
) -> tuple[dict[ModelSource, RowMap], Checkpoint, tuple[str, ...]]:
    source = description.tokenizer_source
    owner = host if source in (None, "base") else _tokenizer_owner(source, checkpoints)
    maps: dict[ModelSource, RowMap] = {}
    notes: list[str] = []
    for key, model in checkpoints.items():
        if model is owner:
            continue
        found = row_map(owner, model, matched=source is not None, accept=description.accept)
        if isinstance(found, RowMap):
            maps[key] = found
            notes.append(found.note)
        elif found is not None:
            notes.append(found)
    return maps, owner, tuple(notes)


def _tokenizer_owner(source: str, checkpoints: Mapping[ModelSource, Checkpoint]) -> Checkpoint:
    """The one model that `model:<name>` or `model:<name>@<revision>` names."""
    kind, _, name = source.partition(":")
    labelled = [one for one in checkpoints.values() if one.name == name]
    named = labelled or [one for key, one in checkpoints.items() if key.model == name]
    if kind != "model" or len(named) != 1:
        wrong = "names several models" if len(named) > 1 else "is not supported"
        raise ValueError(
            f"tokenizer_source={source!r} {wrong}; choose from base, "
            + ", ".join(f"model:{one.name}" for one in checkpoints.values())
        )
    return named[0]


class _Maker:
    def __init__(
        self,
        description: Description,
        host: Checkpoint,
        checkpoints: Mapping[ModelSource, Checkpoint],
        maps: Mapping[ModelSource, RowMap],
        owner: Checkpoint,
        label_maps: Mapping[ModelSource, RowMap],
        of_head: Collection[str],
    ) -> None:
        self.description, self.host, self.checkpoints = description, host, checkpoints
        self.maps, self.owner, self.label_maps = maps, owner, label_maps
        self.method, self.of_head = get_weight_method(description.method), of_head
        self.blocks = {
            key: find_blocks(one.entries, n_text_blocks(one.config), token_embedding(one))
            for key, one in checkpoints.items()
        }

    def tensors(self) -> tuple[tuple[TensorPlan, ...], tuple[int, ...] | None]:
        """Every tensor of the output, in the host's order, and where its blocks come from."""
        description, slices = self.description, self.description.slices
        ours = self.blocks[description.host]
        plain = [name for name in self.host.entries if ours.number(name) is None]
        first = [name for name in plain if comes_first(name)]
        made = [self._tensor(name, None, 0, slices[0], 0.0) for name in first]
        origins: list[int] = []
        for one in slices:
            ranges = [self._range(source) for source in one.sources]
            lengths = {last - start for start, last in ranges}
            if len(lengths) > 1:
                raise ValueError(f"a slice merges blocks {ranges}: these differ in number")
            n = lengths.pop()
            for step in range(n):
                depth = step / (n - 1) if n > 1 else 0.0
                number = len(origins)
                made += [
                    self._tensor(name, number, step, one, depth)
                    for name in self._block_names(one.sources[0], ranges[0][0] + step)
                ]
                origins.append(ranges[0][0] + step)
        last = [name for name in plain if not comes_first(name)]
        made += [self._tensor(name, None, 0, slices[-1], 0.0) for name in last]
        unchanged = origins == list(range(ours.n_blocks))
        return tuple(made), None if unchanged else tuple(origins)

    def _range(self, source: SliceSource) -> tuple[int, int]:
        n = self.blocks[source.model].n_blocks
        first, last = source.blocks or (0, n)
        if source.blocks is None and n == 0:
            return 0, 0  # a model without blocks
        if not 0 <= first < last <= n:
            raise ValueError(
                f"layer_range=[{first}, {last}] of {source.model.model!r} is outside [0, {n}]"
            )
        return first, last

    def _block_names(self, source: SliceSource, block: int) -> list[str]:
        blocks = self.blocks[source.model]
        names = list(self.checkpoints[source.model].entries)
        return [name for name in names if blocks.number(name) == block]

    def _input(self, model: ModelSource, name: str) -> Input:
        checkpoint = self.checkpoints[model]
        if name not in checkpoint.entries:
            raise ValueError(f"model {checkpoint.name!r} has no tensor {name!r}")
        if model in self.label_maps and is_label_tensor(checkpoint, name):
            return Input(checkpoint, name, self.label_maps[model])
        rows = self.maps.get(model) if is_vocabulary_tensor(checkpoint, name) else None
        return Input(checkpoint, name, rows, self.owner if rows is not None else None)

    def _tensor(
        self, name: str, number: int | None, step: int, one: Slice, depth: float
    ) -> TensorPlan:
        """The plan of a tensor; in a block, `name` is that of the first source and `step` its place."""
        output = name
        if number is not None:
            output = self.blocks[one.sources[0].model].renamed(name, number)

        def given(source: SliceSource) -> Input:
            own = name
            if number is not None:
                own = self.blocks[source.model].renamed(name, self._range(source)[0] + step)
            return self._input(source.model, own)

        sources = [source for source in one.sources if self._takes_part(source)]
        inputs = tuple(map(given, sources))
        base = None
        of_head = output in self.of_head
        takes_base = self.description.base is not None and self.method.base != "refused"
        if self.description.base is not None and takes_base and not of_head:
            listed = [source for source in one.sources if source.model == self.description.base]
            base = given(listed[0]) if listed else self._input(self.description.base, output)
        settings = _Settings(self.description, one, output, depth)
        entry = inputs[0].model.entries[inputs[0].tensor]
        by_token = inputs[0].rows is not None or self._by_token(name)
        return TensorPlan(
            name=output,
            method=MEAN if of_head else self.description.method,
            inputs=inputs,
            base=base,
            weights=settings.shares(sources) if of_head else settings.weights(sources),
            thinning=tuple(map(settings.thinning, sources)),
            options=settings.shared,
            scale=1.0 if of_head else settings.scale(sources[0]),
            shape=self.owner.entries[name].shape if by_token else entry.shape,
            dtype=self._dtype(entry.dtype),
        )

    def _dtype(self, stored: torch.dtype) -> torch.dtype:
        """As asked for; else the wider of what the files store and what the host is loaded in."""
        if not stored.is_floating_point:
            return stored
        if self.description.dtype is not None:
            return getattr(torch, self.description.dtype)
        config = self.host.config
        loaded = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
        if self.description.compat == "mergekit" or not isinstance(loaded, torch.dtype):
            return stored
        return torch.promote_types(stored, loaded)

    def _by_token(self, name: str) -> bool:
        return name in self.owner.entries and is_vocabulary_tensor(self.owner, name)

    def _takes_part(self, source: SliceSource) -> bool:
        """Not the ancestor itself: its task vector is 0."""
        return self.method.base == "refused" or source.model != self.description.base


class _Settings:
    """The parameters that hold for one tensor of the output."""

    def __init__(self, description: Description, one: Slice, tensor: str, depth: float) -> None:
        self._description, self._slice, self._place = description, one, (tensor, depth)
        self._method = get_weight_method(description.method)
        apart = ("weight", "scale", *self._method.thinning)
        names = [name for name in self._method.parameters if name not in apart]
        self.shared = {name: self._value(name, None) for name in names}
        self._scale = float(self.shared.pop("lambda", 1.0))

    def _value(self, name: str, source: SliceSource | None) -> Number:
        levels = (self._slice.parameters, self._description.parameters)
        found = lookup(
            levels if source is None else (source.parameters, *levels), name, *self._place
        )
        return self._method.parameters[name] if found is None else found

    def scale(self, source: SliceSource) -> float:
        """Factor of the sum: lambda, or what a passthrough's block is scaled by."""
        if "scale" in self._method.parameters:
            return float(self._value("scale", source))
        return self._scale

    def thinning(self, source: SliceSource) -> dict[str, Number]:
        """Parameters of how a task vector is thinned."""
        found = {name: self._value(name, source) for name in self._method.thinning}
        if "epsilon" in found:
            self._check_chances(float(found["density"]), float(found["epsilon"]))
        return found

    def _check_chances(self, density: float, epsilon: float) -> None:
        """At density 0 nothing stays and at 1 all does, whatever epsilon is."""
        if 0 < density < 1 and not (0 <= density - epsilon and density + epsilon <= 1):
            raise ValueError(
                f"density={density:g} and epsilon={epsilon:g} of tensor {self._place[0]!r} give chances "
                f"{density - epsilon:g} to {density + epsilon:g}, outside 0..1; give epsilon at most "
                f"{min(density, 1 - density):g}"
            )

    def shares(self, sources: list[SliceSource]) -> tuple[float, ...]:
        """The weights divided by their sum, of a mean; equal ones where their sum is 0."""
        weights = [float(self._value("weight", source)) for source in sources]
        total = sum(weights)
        return tuple(one / total if total else 1 / len(weights) for one in weights)

    def weights(self, sources: list[SliceSource]) -> tuple[float, ...]:
        """One weight a source, divided by their sum where the method does so."""
        if self._description.method == "slerp":
            levels = (sources[0].parameters, self._slice.parameters, self._description.parameters)
            t = lookup(levels, "t", *self._place)
            if t is not None:
                return (1 - float(t), float(t))
        weights = tuple(float(self._value("weight", source)) for source in sources)
        if self._description.method == "karcher" and self._description.compat == "mergekit":
            weights = (1.0,) * len(sources)  # the peer's gives every model the same
        by_sum = self._method.normalize is None or (
            self.shared.get("normalize") and self._method.combine is not agreeing_sum
        )
        if not by_sum:
            return weights
        total = sum(weights)
        if total == 0:
            raise ValueError(f"the weights {list(weights)} of tensor {self._place[0]!r} sum to 0")
        return tuple(weight / total for weight in weights)

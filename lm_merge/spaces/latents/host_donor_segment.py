"""The straight segment from the host's stream to the donor's at one block, and losses along it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_merge.metrics.curvature import cross_entropy_jet, k_g_closed_form
from lm_merge.metrics.jets import Jet, TwiceDifferentiable, jet
from lm_merge.models.linear_readout import LinearReadout
from lm_merge.models.tail import RecordedPass, Tail

CHUNK_LOGITS = 2**20  # logits in memory at once, and their derivatives; on a GPU 16 times as many
LEAST_ROWS = 64  # tokens that are read out together at least, however large the vocabulary
CHUNK_STATES = 2**22  # numbers in the states that run through blocks at once


@dataclass(frozen=True)
class Segment:
    """Texts, and the streams on the line from host (t = 0) to donor (t = 1) at block `layer`.

    passed: the host's pass; its tail computes, and needs eager attention below the last block.
    direction: donor minus host, 0 at tokens that a merge leaves alone. targets: the token that follows
    each column. scored: columns whose loss counts, in the order of `tensor[scored]` (n of them).
    readout: the form of the host's read-out if it is a linear one, which saves a third of the work.

    A merge of all positions moves them together, and above the block attention lets each token's
    loss depend on every earlier one. So the segment is joint: x(t) holds all positions of a text, f of
    one token is its loss as a function of all of them, and f'' is exact along that joint direction.
    |d - h|^2 is summed over the merged positions that the loss depends on: those up to the token, or at
    the last block, after which positions do not meet, the token's own.
    """

    passed: RecordedPass
    layer: int
    direction: Float[Tensor, "batch pos d_model"]
    targets: Int[Tensor, "batch pos"]
    scored: Bool[Tensor, "batch pos"]
    readout: LinearReadout | None = None

    @property
    def at_last_block(self) -> bool:
        """Whether only final norm and unembedding follow."""
        return self.layer == self.passed.tail.n_layers - 1

    def sq_distance(self) -> Float[Tensor, " n"]:
        """|d - h|^2 of each scored token's loss."""
        by_position = self.direction.square().sum(dim=-1)
        joint = by_position if self.at_last_block else by_position.cumsum(dim=-1)
        return joint[self.scored]

    def losses(self, points: Float[Tensor, " points"]) -> Float[Tensor, "points n"]:
        """Loss in nats at each t, of each scored token."""
        found = []
        with torch.no_grad(), TwiceDifferentiable():
            for states in self._states(points):
                ends = states
                if not self.at_last_block:
                    ends = self.passed.resume(self.layer, states)[:, self.scored]
                rows, targets = ends.flatten(0, 1), self._targets(len(ends))
                losses = torch.empty_like(targets, dtype=ends.dtype)
                for at in self._chunks(rows):
                    losses[at] = _cross_entropy(self.passed.tail.readout(rows[at]), targets[at])
                found.append(losses.view(len(ends), -1))
        return torch.cat(found)

    def jets(self, points: Float[Tensor, " points"]) -> Jet:
        """Loss with its first and second derivative in t; each [points, n]."""
        found = []
        for states in self._states(points):
            if self.at_last_block:
                along = self.direction[self.scored].expand_as(states)
                ends = Jet(states, along, torch.zeros_like(states))
            else:
                along = self.direction.expand_as(states)
                whole = jet(lambda x: self.passed.resume(self.layer, x), states, along)
                ends = Jet(*(one[:, self.scored] for one in whole))
            rows, targets = [one.flatten(0, 1) for one in ends], self._targets(len(states))
            losses = torch.empty(3, len(targets), dtype=states.dtype, device=states.device)
            for at in self._chunks(rows[0]):
                of_part = cross_entropy_jet(self._logits(*(one[at] for one in rows)), targets[at])
                for order, values in enumerate(of_part):
                    losses[order, at] = values
            found.append(losses.view(3, len(states), -1))
        return Jet(*(torch.cat(one) for one in zip(*found, strict=True)))

    def closed_form(self, points: Float[Tensor, " points"]) -> Float[Tensor, " n"]:
        """`k_g_closed_form`, the largest over the points.

        Raises ValueError below the last block, or without the form of a linear read-out.
        """
        readout = self.readout
        if readout is None:
            raise ValueError("readout is None: the closed form needs that of `linear_readout`")
        if not self.at_last_block:
            raise ValueError(
                f"layer={self.layer} is not the last block, {self.passed.tail.n_layers - 1}: the "
                "closed form is of final norm and unembedding alone"
            )
        best = []
        with torch.no_grad():
            for states in self._states(points):
                rows, targets = states.flatten(0, 1), self._targets(len(states))
                bounds = torch.empty_like(targets, dtype=states.dtype)
                for at in self._chunks(rows):
                    bounds[at] = k_g_closed_form(
                        rows[at],
                        self.passed.tail.readout(rows[at]).softmax(dim=-1),
                        targets[at],
                        readout.gain * readout.scale,
                        readout.unembedding,
                        centred=readout.centred,
                    )
                best.append(bounds.view(len(states), -1).amax(dim=0))
        return torch.stack(best).amax(dim=0)

    def _states(self, points: Tensor) -> Iterator[Tensor]:
        """x(t) for as many points at once as fit: scored rows at the last block, else all positions."""
        host, direction = self.passed.states[self.layer], self.direction
        if self.at_last_block:
            host, direction = host[self.scored], direction[self.scored]
        at_once = max(1, CHUNK_STATES // max(1, host.numel()))
        for some in points.to(host).split(at_once):
            yield host + some.view(-1, *(1,) * host.ndim) * direction

    def _logits(self, value: Tensor, first: Tensor, second: Tensor) -> Jet:
        tail, readout = self.passed.tail, self.readout
        if readout is None:
            return jet(tail.readout, value, first, second)
        normed = jet(tail.norm, value, first, second)
        matrix = readout.unembedding
        with torch.no_grad():
            logits = tail.unembed(normed.value)
            moved = (one * readout.scale @ matrix for one in (normed.first, normed.second))
            return Jet(logits, *moved)

    def _targets(self, n_points: int) -> Tensor:
        return self.targets[self.scored].repeat(n_points)

    def _chunks(self, rows: Tensor) -> Iterator[slice]:
        """Where parts of the rows stand whose logits fit into memory.

        What is found goes into a tensor that is there beforehand: small results that outlive large
        logits would leave holes in the heap, and memory would grow all the same.
        """
        n_rows = rows_at_once(self.passed.tail)
        return (slice(start, start + n_rows) for start in range(0, len(rows), n_rows))


def rows_at_once(tail: Tail) -> int:
    """How many tokens a tail reads out together, so that logits do not grow with tokens."""
    n_logits = CHUNK_LOGITS * (1 if tail.model.device.type == "cpu" else 16)
    return max(LEAST_ROWS, n_logits // tail.model.d_vocab)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none")

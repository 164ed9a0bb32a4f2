"""Curvature of each token's loss between host and donor, block by block, and the gap of the merge."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from lm_merge.accumulation import wide
from lm_merge.metrics import gap_bound_nats, gap_nats, gauss_legendre, k_g
from lm_merge.models.linear_readout import LinearReadout, linear_readout
from lm_merge.models.tail import RecordedPass, Tail
from lm_merge.scoring.next_tokens import end_of
from lm_merge.scoring.texts import Texts
from lm_merge.spaces.latents import LatentMerge
from lm_merge.spaces.latents.host_donor_segment import Segment, rows_at_once

LOW_PRECISION = (torch.bfloat16, torch.float16)  # their blocks and heads are taken up in float32
FLOAT_ERROR = 256  # units in the last place of 1 + loss by which a gap may be wrong


def wide_tail(recorder: Tail, *, above: int) -> Tail:
    """A tail that differentiates twice: the recorder itself, or float32 copies for half precision.

    above: the copies are of the blocks after this one, of the final norm and of the unembedding.
    """
    if recorder.dtype not in LOW_PRECISION:
        return recorder
    return Tail(recorder.model, attention="eager", dtype=torch.float32, above=above)


@dataclass(frozen=True)
class Parents:
    """One pass of host and donor over a batch, in the dtype that curvature is computed in."""

    host: RecordedPass
    donor: RecordedPass
    donor_losses: Float[Tensor, " n"]  # through the donor's own head


class TokenCurvature:
    """Measures a pair at several blocks and alphas, batch by batch.

    merge: gives models and positions; the segment it is measured on is lerp's. n_points: points t at
    which the curvature is looked at. Memory does not grow with vocabulary times tokens.
    """

    def __init__(
        self, merge: LatentMerge, layers: Sequence[int], alphas: Sequence[float], n_points: int
    ) -> None:
        self.merge, self.layers, self.alphas = merge, tuple(layers), tuple(alphas)
        host, donor = merge.host, merge.donors[0]
        self.recorders = [Tail(model, attention="eager") for model in (host, donor)]
        self.tails = [
            wide_tail(self.recorders[0], above=min(layers)),
            wide_tail(self.recorders[1], above=donor.n_layers - 1),
        ]
        self.points = gauss_legendre(n_points)[0]
        self.no_closed_form: str | None = None
        self.readout: LinearReadout | None = None
        try:
            self.readout = linear_readout(self.tails[0])
        except ValueError as error:  # this read-out has none: noted, and NaN in tables
            self.no_closed_form = str(error)

    def measure(
        self, texts: Texts, scored: Bool[Tensor, "batch pos"], first_text: int = 0
    ) -> pd.DataFrame:
        """One row for each scored token, block and alpha.

        Columns: text (counted from first_text), position (of the token whose loss it is), layer,
        alpha, k_g and k_g_closed_form (nats per squared norm), sq_distance, curvature_nats
        (K_g |d-h|^2), loss_host, loss_donor (own head), loss_ends (the donor's stream read on by the
        host), loss_merged, head_mismatch_nats, gap_nats, bound_nats, float_error_nats.
        """
        parents = self._parents(texts, scored)
        text, column = (one.cpu() for one in scored.nonzero(as_tuple=True))
        where = {"text": text + first_text, "position": column + 1}
        targets = texts.tokens.roll(-1, dims=1)
        merged_at = texts.attention_mask.bool()
        if self.merge.positions == "last":
            merged_at = texts.from_prompt_end
        frames = []
        for layer in self.layers:
            direction = parents.donor.states[layer] - parents.host.states[layer]
            direction = direction * merged_at.unsqueeze(-1)
            segment = Segment(parents.host, layer, direction, targets, scored, self.readout)
            for alpha, columns in self._along(segment, parents.donor_losses):
                values = {key: wide(one).cpu() for key, one in columns.items()}
                frames.append(pd.DataFrame({**where, "layer": layer, "alpha": alpha, **values}))
        return pd.concat(frames, ignore_index=True)

    def _along(self, segment: Segment, donor_losses: Tensor) -> list[tuple[float, dict]]:
        second, sq_distance = segment.jets(self.points).second, segment.sq_distance()
        steepest = k_g(second, sq_distance)
        closed = torch.full_like(steepest, torch.nan)
        if self.readout is not None and segment.at_last_block:
            closed = segment.closed_form(self.points)
        points = torch.tensor([0.0, 1.0, *self.alphas], dtype=torch.float64)
        host, ends, *merged = segment.losses(points)
        common = {
            "k_g": steepest,
            "k_g_closed_form": closed,
            "sq_distance": sq_distance,
            "curvature_nats": steepest * sq_distance,
            "loss_host": host,
            "loss_donor": donor_losses,
            "loss_ends": ends,
            "head_mismatch_nats": (ends - donor_losses).abs(),
        }
        rows = []
        for alpha, loss in zip(self.alphas, merged, strict=True):
            largest = torch.stack([host, ends, loss]).amax(dim=0)
            of_alpha = {
                "loss_merged": loss,
                "gap_nats": gap_nats(host, ends, loss, alpha),
                "bound_nats": gap_bound_nats(steepest, sq_distance, alpha),
                "float_error_nats": FLOAT_ERROR * torch.finfo(loss.dtype).eps * (1 + largest),
            }
            rows.append((alpha, common | of_alpha))
        return rows

    def _parents(self, texts: Texts, scored: Tensor) -> Parents:
        host, donor = (
            tail.record(texts.tokens, texts.attention_mask, layers=self.layers)
            for tail in self.recorders
        )
        on_head, targets = donor.on(self.tails[1]), texts.tokens.roll(-1, dims=1)[scored]
        rows = end_of(on_head)[scored.to(self.tails[1].model.device)]
        n_rows = rows_at_once(self.tails[1])
        with torch.no_grad():
            losses = [
                cross_entropy(on_head.tail.readout(part), of_part.to(part.device), reduction="none")
                for part, of_part in zip(rows.split(n_rows), targets.split(n_rows), strict=True)
            ]
        host = host.on(self.tails[0])
        device, dtype = self.merge.host.device, self.tails[0].dtype
        states = {layer: state.to(device, dtype) for layer, state in donor.states.items()}
        donor = RecordedPass(donor.tail, states, {})
        return Parents(host, donor, torch.cat(losses).to(device, dtype))

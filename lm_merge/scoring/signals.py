"""Signals of a merge that need no right answer and no generated token, and how well they rank merges.

All come from a handful of texts read once; with positions "last" from each text's last token, which is
then the only one merged. With h, d, m the states of host, donor and merge at the
merged block, and F(x) = KL(host || host's later blocks, norm and head run from x), per token in nats:

- distance: |m - h|^2 / |h|^2; arc_rad: angle(h, m). No later block is run.
- head_mismatch: KL(donor || host's later part run from d): how ill the host reads the donor's stream.
- chord: alpha F(d), the linear part of the bound. It takes no operator into account.
- bound: chord + 1/2 alpha (1 - alpha) max_t max(0, -F''(t)) along t -> h + t (d - h), F averaged over
  a text: an upper bound of F for lerp (up to the finite number of t), a guess for other operators.
- kl_prompt: KL(merge || host) itself, which runs the host's later part for every merge.
- alpha and layer by themselves, for comparison.
"""

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.geometry import angle
from lm_merge.models.tail import RecordedPass, Tail
from lm_merge.scoring.next_tokens import NextTokens
from lm_merge.scoring.teacher_forced import estimate, run_texts
from lm_merge.scoring.texts import Texts
from lm_merge.scoring.token_curvature import wide_tail
from lm_merge.spaces.latents.latent_grid import GridCell, GridPass, LatentGrid
from lm_merge.statistics.clustered_means import ClusteredMean
from lm_merge.statistics.rank_correlation import rank_correlation

CHEAP = ("distance", "arc_rad")
BY_LAYER = ("head_mismatch", "chord", "bound")
SIGNALS = (*CHEAP, *BY_LAYER, "kl_prompt")
BASELINES = ("alpha", "layer")
OUTCOMES = ("loss_answer", "loss", "kl_host", "accuracy")
N_NODES = 17  # points t at which the curvature is looked at


class SignalMeans:
    """Accumulates the signals of every cell of a grid over texts."""

    def __init__(self, grid: LatentGrid) -> None:
        self.grid = grid
        self.means = {cell: {name: ClusteredMean() for name in SIGNALS} for cell in grid.cells}
        self._recorder = Tail(grid.merge.host, attention="eager")
        self._twice = wide_tail(self._recorder, above=min(grid.layers))

    def measure(self, batches: Iterable[Texts]) -> pd.DataFrame:
        """Table: layer, operator, alpha, signal, value, standard_error, low, high, n."""
        for texts in batches:
            self.update(texts)
        rows = []
        for cell, means in self.means.items():
            for name, mean in means.items():
                rows.append(cell._asdict() | estimate(name, mean.result()))
        return pd.DataFrame(rows).rename(columns={"metric": "signal"})

    def update(self, texts: Texts) -> None:
        """Add a batch of texts without answers."""
        passed = run_texts(self.grid, texts)
        merged_at = passed.merged_at
        last_only = self.grid.merge.positions == "last"
        outputs = NextTokens(passed, texts, at=merged_at if last_only else None)
        twice = self._recorder.record(texts.tokens, texts.attention_mask, layers=self.grid.layers)
        twice = twice.on(self._twice)
        by_layer = {}
        for layer in self.grid.layers:
            host = passed.host.states[layer]
            donor = passed.donor.states[layer].to(host)
            donor = torch.where(merged_at.unsqueeze(-1), donor, host)
            chord, mismatch = _read_by_host(passed, outputs, layer, donor)
            by_layer[layer] = chord, mismatch, _worst_curvature(twice, layer, host, donor, outputs)
        for cells, ends in passed.ends():
            for cell, end in zip(cells, ends, strict=True):
                means = self.means[cell]
                host, merged = passed.host.states[cell.layer].float(), passed.merged(cell).float()
                far = (merged - host).square().sum(dim=-1) / host.square().sum(dim=-1)
                means["distance"].update(far.masked_fill(~merged_at, torch.nan))
                turned = angle(host, merged).squeeze(-1)
                means["arc_rad"].update(turned.masked_fill(~merged_at, torch.nan))
                means["kl_prompt"].update(outputs.by_text(outputs.of_merge(end)["kl_host"]))
                chord, mismatch, curvature = by_layer[cell.layer]
                means["head_mismatch"].update(mismatch)
                means["chord"].update(cell.alpha * chord)
                bend = 0.5 * cell.alpha * (1 - cell.alpha) * curvature
                means["bound"].update(cell.alpha * chord + bend)


def _read_by_host(
    passed: GridPass, outputs: NextTokens, layer: int, donor_states: Tensor
) -> tuple[Tensor, Tensor]:
    """KL(host || read) and KL(donor || read) by column, of the donor's states read by the host."""
    with torch.no_grad():
        end = passed.host.resume(layer, donor_states.unsqueeze(0))[0]
    read = outputs.log_probabilities(end)
    host, donor = (outputs.parents[name] for name in ("host", "donor"))
    from_host, from_donor = (
        outputs.by_text((parent.exp() * (parent - read)).sum(dim=-1)) for parent in (host, donor)
    )
    return from_host, from_donor


def _worst_curvature(
    passed: RecordedPass, layer: int, host: Tensor, donor: Tensor, outputs: NextTokens
) -> Float[Tensor, "batch 1"]:
    """max over t of max(0, -F''(t)) of each text's mean F along host -> donor, in nats."""
    host, donor = host.to(passed.tail.dtype), donor.to(passed.tail.dtype)
    worst = torch.zeros(len(host), device=host.device)
    p_host = outputs.parents["host"].exp()
    weights = outputs.at / outputs.at.sum(dim=1, keepdim=True)
    for node in torch.linspace(0, 1, N_NODES).tolist():
        t = torch.full((len(host), 1, 1), node, device=host.device, requires_grad=True)
        end = passed.resume(layer, (host + t * (donor - host)).unsqueeze(0))[0]
        log_read = passed.tail.readout(end[outputs.at])[..., : outputs.d_vocab]
        losses = -(p_host * log_read.float().log_softmax(dim=-1)).sum(dim=-1)
        total = (losses * weights[outputs.at]).sum()
        (slope,) = torch.autograd.grad(total, t, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), t)
        worst = torch.maximum(worst, -bend.flatten())
    return worst.unsqueeze(1)


def rank_correlations(signals: pd.DataFrame, layerwise: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of each signal with each outcome over the merges of a grid.

    Columns: signal, outcome, alpha (the merges at that alpha; NaN: all), spearman in [-1, 1], low and
    high (95 %, Bonett and Wright's), p_value, n (merges). regmean is left out next to lerp, which it
    equals. Merges of one pair on one set of texts are no independent sample: the interval tells how
    few they are, not what another pair would give.
    """
    chosen = signals.pivot(index=list(GridCell._fields), columns="signal", values="value")
    outcomes = layerwise.pivot(index=list(GridCell._fields), columns="metric", values="value")
    cells = chosen.join(outcomes[[name for name in OUTCOMES if name in outcomes]]).reset_index()
    if {"lerp", "regmean"} <= set(cells.operator):
        cells = cells[cells.operator != "regmean"]
    rows = []
    for alpha in (float("nan"), *sorted(cells.alpha.unique())):
        of_alpha = cells if np.isnan(alpha) else cells[cells.alpha == alpha]
        for outcome in (name for name in OUTCOMES if name in cells):
            for signal in (*SIGNALS, *BASELINES):
                pair = np.asarray(of_alpha[[signal, outcome]], dtype=float)
                pair = pair[np.isfinite(pair).all(axis=1)]
                rows.append(
                    {"signal": signal, "outcome": outcome, "alpha": alpha}
                    | asdict(rank_correlation(*pair.T))
                )
    return pd.DataFrame(rows)

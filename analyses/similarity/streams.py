"""Accumulators over batches of residual streams: arcs and CKA by block, and mean paths."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from lm_merge.accumulation import wide
from lm_merge.metrics import MinibatchCKA, arc_deviation_rad, arc_ratio, cka_within_texts, midness
from lm_merge.statistics.clustered_means import ClusteredMean

ARC_METRICS = {
    "midness": midness,
    "arc_ratio": arc_ratio,
    "arc_deviation_rad": arc_deviation_rad,
}
CKA_PAIRS = (("host", "donor"), ("host", "merged"), ("donor", "merged"))
CKA_KINDS = ("debiased", "biased")


class StreamComparison:
    """Accumulates, batch by batch, all that is measured of a merge at several alphas.

    Memory stays flat in the number of tokens: per block and stream a few hundred rows, which wait
    for their `MinibatchCKA` group.
    """

    def __init__(self, n_layers: int, alphas: Sequence[float]) -> None:
        self.n_layers, self.alphas = n_layers, tuple(alphas)
        keys = [(alpha, name) for alpha in self.alphas for name in ARC_METRICS]
        self.arcs = {key: [ClusteredMean() for _ in range(n_layers)] for key in keys}
        self.pairs = [("host", "donor")]
        self.pairs += [(one, merged_name(a)) for a in self.alphas for one in ("host", "donor")]
        self.ckas = [MinibatchCKA(self.pairs) for _ in range(n_layers)]
        self.within = {pair: [ClusteredMean() for _ in range(n_layers)] for pair in self.pairs}

    def update(self, streams: Mapping[str, Tensor], tokens: Tensor) -> None:
        """Add streams [n_layers, batch, pos, d_model] by name, at chosen tokens.

        They may be in any dtype and on any device: one block at a time is computed, in float32, where
        the tokens are.
        """
        for layer in range(self.n_layers):
            block = {name: in_float32(states[layer], tokens) for name, states in streams.items()}
            for (alpha, name), means in self.arcs.items():
                merged = block[merged_name(alpha)]
                values = ARC_METRICS[name](block["host"], block["donor"], merged)
                means[layer].update(values.squeeze(-1).masked_fill(~tokens, torch.nan))
            self.ckas[layer].update({name: state[tokens] for name, state in block.items()})
            for pair, values in cka_within_texts(block, tokens, self.pairs).items():
                self.within[pair][layer].update(values)

    def rows(self) -> Iterable[dict[str, object]]:
        """Tidy rows: alpha, layer, metric, and value to n (tokens; biased CKA: texts) of `Mean.row`."""
        for (alpha, name), means in self.arcs.items():
            for layer, mean in enumerate(means):
                yield _place(alpha, layer, name) | mean.result().row()
        for layer, fitter in enumerate(self.ckas):
            results = fitter.results()
            for alpha in self.alphas:
                for one, other in CKA_PAIRS:
                    pair = one, merged_name(alpha) if other == "merged" else other
                    debiased, biased = (f"cka_{kind}_{one}_{other}" for kind in CKA_KINDS)
                    yield _place(alpha, layer, debiased) | results[pair].row()
                    yield _place(alpha, layer, biased) | self.within[pair][layer].result().row()


def in_float32(state: Tensor, tokens: Tensor) -> Tensor:
    """One block's states where the tokens are, in float32, or as they are where they are wider."""
    return state.to(tokens.device, torch.promote_types(state.dtype, torch.float32))


def merged_name(alpha: float) -> str:
    """Name of the merged stream at an alpha; NaN for a recipe that has no single one."""
    return "merged" if math.isnan(alpha) else f"merged {alpha:g}"


def _place(alpha: float, layer: int, metric: str) -> dict[str, object]:
    return {"alpha": alpha, "layer": layer, "metric": metric}


class MeanPaths:
    """Accumulates the mean stream of each model over all tokens, by block."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.n_tokens: dict[str, int] = {}

    def update(self, stream: str, states: Tensor, tokens: Tensor) -> None:
        """Add states [n_layers, batch, pos, d_model] at chosen tokens."""
        chosen = tokens.unsqueeze(-1)
        blocks = [(in_float32(one, tokens) * chosen).sum(dim=(0, 1)) for one in states]
        total = wide(torch.stack(blocks)).cpu()
        self.sums[stream] = self.sums.get(stream, torch.zeros_like(total)) + total
        self.n_tokens[stream] = self.n_tokens.get(stream, 0) + int(tokens.sum())

    def table(self) -> pd.DataFrame:
        """The paths in their common principal space: stream, layer, pc1 to pc3, explained shares."""
        means = {key: (total / self.n_tokens[key]).numpy() for key, total in self.sums.items()}
        space = PCA(n_components=3).fit(np.concatenate(list(means.values())))
        rows = [
            {"stream": key, "layer": layer, "pc1": float(x), "pc2": float(y), "pc3": float(z)}
            for key, path in means.items()
            for layer, (x, y, z) in enumerate(space.transform(path))
        ]
        explained = {
            f"explained_frac_{number}": float(share)
            for number, share in enumerate(space.explained_variance_ratio_, start=1)
        }
        return pd.DataFrame(rows).assign(**explained)

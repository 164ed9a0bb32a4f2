"""Which token took how much of the donors: alphas as they were used, column by column."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lm_merge.spaces.latents.latent_pass import LatentPass


class AlphaRecord:
    """Alphas of the forward passes of one text or batch, put together by column.

    A column that is computed again (a rejected draft, recomputation) keeps its last value. Beams are
    reordered between passes and are not followed.
    """

    def __init__(self) -> None:
        self._parts: dict[int, list[tuple[int, Tensor]]] = {}

    def add(self, layer: int, current: LatentPass, values: float | Tensor, host: Tensor) -> None:
        """Note one pass at one block."""
        alpha = torch.zeros(*host.shape[:-1], 1, device=host.device) + values
        alpha = current.select(torch.zeros_like(alpha), alpha).squeeze(-1)
        self._parts.setdefault(layer, []).append((current.n_before, alpha.detach()))

    @property
    def layers(self) -> list[int]:
        """Merged blocks that were seen."""
        return sorted(self._parts)

    def table(self, tokens: Sequence[str], row: int = 0) -> pd.DataFrame:
        """Tidy table of one text of the batch: layer, position, token, alpha.

        tokens: the text's tokens as strings, prompt included; those beyond the last column that went
        through the model are left out.
        """
        return pd.DataFrame(
            [
                {"layer": layer, "position": position, "token": token, "alpha": float(value)}
                for layer in self.layers
                for position, (token, value) in enumerate(
                    zip(tokens, self.alpha(layer)[row], strict=False)
                )
            ]
        )

    def alpha(self, layer: int) -> Float[Tensor, "batch pos"]:
        """Alpha of every column that went through the model; the newest token has not yet.

        Raises KeyError for a block that was not merged while recording.
        """
        if layer not in self._parts:
            raise KeyError(f"layer={layer} was not recorded; recorded are {self.layers}")
        parts = self._parts[layer]
        n_columns = parts[-1][0] + parts[-1][1].shape[1]
        table = torch.full((parts[0][1].shape[0], n_columns), torch.nan)
        for start, values in parts:
            end = min(start + values.shape[1], n_columns)
            table[:, start:end] = values[:, : end - start].float().cpu()
        return table

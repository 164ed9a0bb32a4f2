"""The decomposition of a toy model of superposition as a plain loop: one seed, all by autograd."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import gelu

from lm_merge.decomposition.components import Tensors
from lm_merge.decomposition.leaky import leaky
from lm_merge.decomposition.settings import DecompositionSettings
from lm_merge.decomposition.targets.tms import TMSTarget

LAYERS = ("linear1", "linear2")
Draw = Callable[[int, int], Tensor]  # (rows, columns) -> uniform draws


class PlainLoop:
    """Stochastic and layerwise reconstruction and the penalty on importance, term by term.

    tensors: U, V and gates of one seed, by the names that a decomposition has. Examples without a
    feature are computed like the others, every masked pass is its own, and gates have no chunks.
    """

    def __init__(
        self, target: TMSTarget, settings: DecompositionSettings, tensors: Tensors
    ) -> None:
        self.target, self.settings = target, settings
        self.tensors = {
            name: one.detach().clone().requires_grad_() for name, one in tensors.items()
        }
        self.optimizer = torch.optim.AdamW(
            list(self.tensors.values()), lr=settings.lr, weight_decay=0.0
        )

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """U and V of both layers; those of the second are the first's, transposed and exchanged."""
        U, V = self.tensors["linear1.U"], self.tensors["linear1.V"]
        return {"linear1": (U, V), "linear2": (V.T, U.T)}

    def importances(self, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """The two leaky importances [rows, n_components] of each layer."""
        W = self.target.tensors["W"]
        inputs = {"linear1": x, "linear2": x @ W.T}
        found = {}
        for name, (_, V) in self.factors().items():
            w_in, b_in, w_out, b_out = (
                self.tensors[f"{name}.gate.{key}"] for key in ("w_in", "b_in", "w_out", "b_out")
            )
            h = (inputs[name] @ V.T).unsqueeze(-1)
            z = (gelu(h * w_in + b_in) * w_out).sum(-1) + b_out
            found[name] = leaky(z, one_sided=self.settings.one_sided_leak)
        return found

    def output(self, x: Tensor, masks: dict[str, Tensor]) -> Tensor:
        """Output of the model with the layers of `masks` masked, the remainder's draw last."""
        W, b = self.target.tensors["W"], self.target.tensors["b"]
        state = x
        for name, weight in zip(LAYERS, (W, W.T), strict=True):
            if name in masks:
                (U, V), mask = self.factors()[name], masks[name]
                rest = state @ (weight - U @ V).T
                state = (state @ V.T * mask[:, :-1]) @ U.T + mask[:, -1:] * rest
            else:
                state = state @ weight.T
        return (state + b).relu()

    def losses(self, x: Tensor, draw: Draw) -> dict[str, Tensor]:
        """The three losses on a batch [rows, n_features]."""
        pairs = self.importances(x)
        clean = self.output(x, {}).detach()

        def divergence(*names: str) -> Tensor:
            masks = {}
            for name in names:
                g = pairs[name][0]
                r = draw(len(x), g.shape[1] + 1)
                masks[name] = torch.cat([g + (1 - g) * r[:, :-1], r[:, -1:]], dim=1)
            return (self.output(x, masks) - clean).square().mean()

        penalty = sum(upper.sum(-1).mean() for _, upper in pairs.values())
        return {
            "stochastic": divergence(*LAYERS),
            "layerwise": torch.stack([divergence(name) for name in LAYERS]).mean(),
            "importance": torch.as_tensor(penalty),
        }

    def step(self, generator: torch.Generator) -> None:
        """One step of the optimizer on a fresh batch."""
        x = self.target.data.draw(generator, self.settings.batch)
        losses = self.losses(x, lambda n, width: torch.rand(n, width, generator=generator))
        total = torch.stack([self.settings.weight_of(name) * one for name, one in losses.items()])
        self.optimizer.zero_grad()
        total.sum().backward()
        self.optimizer.step()

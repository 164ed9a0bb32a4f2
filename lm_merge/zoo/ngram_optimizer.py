"""Adam for n-gram models, with its state on disk."""

import os
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lm_merge.zoo.ngram_settings import PretrainingSettings, TuningSettings

BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's
MODEL, DENSE, VECTORS, STEPS = "model/", "dense/", "vectors/", "n_steps"


class NgramOptimizer:
    """Adam; of the n-grams' vectors only those of a batch are read, and moved, at a step.

    Their moments rest while they do not occur, as in torch's SparseAdam, at a tenth of its time.
    """

    def __init__(
        self,
        model: nn.Module,
        vectors: Tensor,
        settings: PretrainingSettings | TuningSettings,
    ) -> None:
        self._model, self._settings = model, settings
        self._parameters = [one for one in model.parameters() if one is not vectors]
        self._dense = torch.optim.Adam(self._parameters)
        self._vectors, self.n_steps = vectors.detach(), 0
        self._moments = torch.zeros_like(self._vectors), torch.zeros_like(self._vectors)
        self._rows = self._leaf = torch.empty(0)

    def means(self, ids: Tensor, offsets: Tensor) -> Float[Tensor, "batch width"]:
        """Means of the texts' vectors, through which the next step's gradient flows."""
        self._rows, places = ids.unique(return_inverse=True)
        self._leaf = self._vectors[self._rows].requires_grad_()
        return nn.functional.embedding_bag(places, self._leaf, offsets, mode="mean")

    def step(self, loss: Tensor, share: float) -> None:
        """One step at a share of the learning rates."""
        self._dense.param_groups[0]["lr"] = self._settings.learning_rate * share
        self._dense.zero_grad()
        loss.backward()
        self._dense.step()
        gradient = self._leaf.grad
        assert gradient is not None
        self.n_steps += 1
        corrections = [1 - beta**self.n_steps for beta in BETAS]
        first, second = (one[self._rows] for one in self._moments)
        first.lerp_(gradient, 1 - BETAS[0])
        second.lerp_(gradient.square(), 1 - BETAS[1])
        for moments, values in zip(self._moments, (first, second), strict=True):
            moments[self._rows] = values
        change = first / corrections[0] / ((second / corrections[1]).sqrt() + EPSILON)
        self._vectors[self._rows] -= self._settings.vector_rate * share * change

    def save(self, path: Path) -> None:
        """The model's tensors, all moments and the number of steps; the file is whole or not there."""
        tensors = {MODEL + name: one for name, one in self._model.state_dict().items()}
        tensors |= {f"{VECTORS}{place}": one for place, one in enumerate(self._moments)}
        for place, parameter in enumerate(self._parameters):
            state = self._dense.state[parameter]
            tensors |= {f"{DENSE}{place}/{name}": one for name, one in state.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}-draft")
        save_file(tensors, draft, metadata={STEPS: str(self.n_steps)})
        os.replace(draft, path)

    def load(self, path: Path) -> None:
        """Model, moments and steps as they were saved."""
        tensors = load_file(path)
        with safe_open(path, framework="pt") as kept:
            self.n_steps = int((kept.metadata() or {})[STEPS])
        self._model.load_state_dict(
            {
                name.removeprefix(MODEL): one
                for name, one in tensors.items()
                if name.startswith(MODEL)
            }
        )
        self._moments = tensors[f"{VECTORS}0"], tensors[f"{VECTORS}1"]
        for place, parameter in enumerate(self._parameters):
            first = f"{DENSE}{place}/"
            own = {
                key.removeprefix(first): one
                for key, one in tensors.items()
                if key.startswith(first)
            }
            self._dense.state[parameter] = own

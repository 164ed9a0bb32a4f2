"""Modules of a language model as a target; the loss is KL on its next-token distributions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_merge.decomposition.components import Layer
from lm_merge.decomposition.masked import Apply
from lm_merge.decomposition.targets.settings import LanguageSettings
from lm_merge.decomposition.targets.texts import (
    Texts,
    file_texts,
    question_texts,
    taught_skills,
    thinks,
)
from lm_merge.metrics.divergence import kl_nats
from lm_merge.models.hooked_lm import HookedLM
from lm_merge.models.loading import load


@dataclass(frozen=True)
class TokenBatch:
    """Token ids of each seed's texts; weights are 1 for real tokens and 0 for padding."""

    ids: Tensor  # [seeds, texts, pos]
    weights: Float[Tensor, "seeds rows"]
    n_rows: Sequence[int]


@dataclass(frozen=True)
class LanguageTarget:
    """A model, the modules of it that are decomposed, and texts.

    sources: texts that batches are drawn from, in equal parts.
    """

    model: HookedLM
    modules: Mapping[str, nn.Module]
    layers: Mapping[str, Layer]
    sources: Sequence[Texts]

    def batch(self, generators: Sequence[torch.Generator], n_examples: int) -> TokenBatch:
        """`n_examples` texts for each seed, from every source as many (the first gets the rest)."""
        ids, real = [], []
        for generator in generators:
            rows = self._drawn(generator, n_examples)
            ids.append(torch.cat([self._wide(text.ids[row]) for text, row in rows]))
            real.append(torch.cat([self._wide(text.real[row]) for text, row in rows]))
        return token_batch(torch.stack(ids), torch.stack(real), self.model.device)

    def forward(self, batch: TokenBatch, apply: Apply, copies: int = 1) -> Tensor:
        """Logits of every token, `apply` in the place of every decomposed module."""
        n_seeds, n_texts, n_pos = batch.ids.shape
        ids = batch.ids.unsqueeze(1).expand(-1, copies, -1, -1).reshape(-1, n_pos)

        def at(name: str, a: Tensor) -> Tensor:
            rows = a.reshape(n_seeds, copies * n_texts * n_pos, *a.shape[2:])
            return apply(name, rows).reshape(*ids.shape, -1)

        with replaced(self.modules, at):
            logits = self.model.require_native("a decomposition")(input_ids=ids).logits
        return logits.reshape(n_seeds, copies * n_texts * n_pos, -1)

    def divergence(self, output: Tensor, clean: Tensor) -> Float[Tensor, "seeds rows"]:
        """KL of the output from the target's distribution, nats a token."""
        return kl_nats(clean, output).squeeze(-1)

    def _drawn(self, generator: torch.Generator, n: int) -> list[tuple[Texts, Tensor]]:
        share, found = n // len(self.sources), []
        for place, text in enumerate(self.sources):
            count = share if place else n - share * (len(self.sources) - 1)
            drawn = torch.randint(
                len(text.ids), (count,), generator=generator, device=generator.device
            )
            found.append((text, drawn.cpu()))
        return found

    def _wide(self, tensor: Tensor) -> Tensor:
        width = max(text.ids.shape[1] for text in self.sources)
        return nn.functional.pad(tensor, (0, width - tensor.shape[1]))


def token_batch(ids: Tensor, real: Tensor, device: torch.device) -> TokenBatch:
    """A batch from ids and real-token flags [seeds, texts, pos], cut to the longest text."""
    width = int(real.any(dim=(0, 1)).sum())
    ids, real = ids[..., :width].to(device), real[..., :width].to(device)
    n_rows = ids.shape[1] * width
    return TokenBatch(ids, real.flatten(1).float(), [n_rows] * len(ids))


@contextmanager
def replaced(
    modules: Mapping[str, nn.Module], function: Callable[[str, Tensor], Tensor]
) -> Iterator[None]:
    """Hooks that put `function(name, input)` in the place of each module's output."""
    with ExitStack() as stack:
        for name, module in modules.items():

            def hook(module: nn.Module, inputs: Any, output: Any, name: str = name) -> Tensor:
                return function(name, inputs[0])

            stack.callback(module.register_forward_hook(hook).remove)
        yield


def chosen_modules(model: HookedLM, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """Linear and embedding modules of the native view whose names fit a pattern, in order.

    Raises ValueError for a pattern that fits none.
    """
    native = model.require_native("a decomposition")
    known = {n: m for n, m in native.named_modules() if isinstance(m, nn.Linear | nn.Embedding)}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ValueError(
                f"modules: {pattern!r} fits no linear map or embedding of {model.name!r}; it has, for "
                f"example, {', '.join(list(known)[:9])}"
            )
    return {n: m for n, m in known.items() if any(fnmatchcase(n, one) for one in patterns)}


def layer_of(name: str, module: Any) -> Layer:
    """A module as a layer: an embedding's rows become columns."""
    weight = module.weight.detach().float()
    embedding = isinstance(module, nn.Embedding)
    bias = None if embedding or module.bias is None else module.bias.detach().float()
    return Layer(name, weight.T if embedding else weight, bias=bias, embedding=embedding)


def language_target(
    settings: LanguageSettings,
    folder: Path,
    *,
    device: str | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> LanguageTarget:
    """The model and its texts; `folder` and `note` are not needed."""
    model = frozen_model(settings.model, device)
    modules = chosen_modules(model, settings.modules)
    layers = {name: layer_of(name, module) for name, module in modules.items()}
    return LanguageTarget(model, modules, layers, [texts_of(settings, model)])


def frozen_model(name: str, device: str | None) -> HookedLM:
    """A model of our own in float32 whose parameters take no gradients."""
    model = load(name, device=device, dtype="float32")
    model.require_native("a decomposition").requires_grad_(False).eval()
    return model


def texts_of(settings: LanguageSettings, model: HookedLM) -> Texts:
    """The texts that the settings ask for."""
    shape = {"n_tokens": settings.n_tokens, "seed": settings.seed}
    if settings.texts is not None:
        return file_texts(model.tokenizer, Path(settings.texts), settings.n_texts, **shape)
    skills = settings.skills or taught_skills(settings.model)
    own = {"thinks": thinks(settings.model), **shape}
    return question_texts(model.tokenizer, skills, settings.n_texts, **own)

"""Logit ensembles: several models' next-token distributions made one, at every step."""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from lm_merge.coefficients.shares import donor_shares
from lm_merge.generation import Prompts, prepare
from lm_merge.generation.static.decoding import StaticDecoding
from lm_merge.models import HookedLM, check_vocabulary
from lm_merge.operators.distributions import UNWEIGHTED_METHODS, get_ensemble_method
from lm_merge.recipes import Recipe
from lm_merge.spaces.composed import amount_phrase, composed_name
from lm_merge.spaces.host_lock import unmerged
from lm_merge.spaces.logits.ensemble_hooks import EnsembleHooks


class LogitEnsemble:
    """Models of one tokenizer that generate as one: at every step, their distributions are combined.

    models: two or more, of any architectures; the first is the host, whose tokenizer, chat template
        and generation settings count. `check_vocabulary` compares the tokenizers.
    weights: one a model, at least 0, divided by their sum; equal unless given. "majority" takes none.
    method: "soft" (weighted mean of the probabilities), "mean" (weighted mean of the logits, that is
        the normalised geometric mean), "majority" or "weighted_majority" (votes for each model's most
        probable token, ties to the larger mean probability): `lm_merge.operators.distributions`.
    accept: names of differences between the tokenizers to accept ("special_tokens").

    All models run whole on every token, each with its own key-value cache. Logits come in float32 (or
    wider), softmax gives the ensemble's distribution, and with weight 1 for one model "soft" and
    "mean" give its own logits. Only the native view is replaced: `host.hooked` stays the host's own,
    and there is no merged stream to look at. The other models contribute by their weights alone, and
    by the adapter that they were loaded with: hooks, steering or adapters put on their modules are not
    seen. One thread at a time may use a host.

    >>> import lm_merge as lm
    >>> models = [lm.load("tiny-instruct"), lm.load("tiny-thinker")]
    >>> ensemble = lm.LogitEnsemble(models, weights=[3.0, 1.0])
    >>> ensemble.weights
    (0.75, 0.25)
    >>> ensemble.generate("What is the capital of Norway?", chat=True, max_new_tokens=8)
    'Oslo'
    """

    def __init__(
        self,
        models: Sequence[HookedLM],
        weights: Sequence[float] | None = None,
        method: str = "soft",
        *,
        accept: Collection[str] = (),
    ) -> None:
        self.models = list(models)
        if len(self.models) < 2:
            raise ValueError(f"models holds {len(self.models)}; an ensemble needs at least two")
        get_ensemble_method(method)
        self.method, self.accept = method, tuple(accept)
        shares = ensemble_weights(weights, len(self.models), method)
        for model in self.models:
            if model.native is None:
                raise ValueError(
                    f"{model.name!r} is a HookedTransformer, which has no native view; "
                    "load it with lm_merge.load for an ensemble"
                )
        self.notes = tuple(
            note
            for model in self.models[1:]
            for note in check_vocabulary(self.host, model, self.accept)
        )
        self._runner = EnsembleHooks(self.models, method, shares)

    def __repr__(self) -> str:
        names = ", ".join(model.name for model in self.models)
        return f"LogitEnsemble({names}, weights={self.weights}, {self.method})"

    @property
    def host(self) -> HookedLM:
        """The first model: its tokenizer, chat template and generation settings count."""
        return self.models[0]

    @property
    def donors(self) -> list[HookedLM]:
        """The other models."""
        return self.models[1:]

    @property
    def name(self) -> str:
        """Models, method and weights, for tables and figures."""
        names = [model.name for model in self.models]
        if self.method in UNWEIGHTED_METHODS:
            return composed_name(names, "logits", self.method)
        amounts = [self.alpha] if len(self.models) == 2 else self.weights
        return composed_name(names, "logits", self.method, amount_phrase(amounts))

    @property
    def decoding(self) -> StaticDecoding:
        """How the ensemble decodes: its recorded steps, and which path the last call took."""
        return self._runner.decoding

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each model, host first; they sum to 1."""
        return self._runner.weights

    @weights.setter
    def weights(self, values: Sequence[float]) -> None:
        """Divide by their sum and take effect at the next forward pass."""
        self._runner.weights = ensemble_weights(values, len(self.models), self.method)

    @property
    def alpha(self) -> float:
        """The donors' total weight: 0 is the host alone."""
        return min(
            1.0, math.fsum(self.weights[1:])
        )  # rounding must not lead beyond what is allowed

    @alpha.setter
    def alpha(self, value: float) -> None:
        """Give the donors this much together, in their parts so far (equal where they had none)."""
        parts = self.weights[1:] if self.alpha > 0 else None
        self.weights = weights_from_alpha(value, parts, len(self.donors))

    @property
    def recipe(self) -> Recipe:
        """This ensemble as data."""
        amounts: dict[str, Any] = {}
        if self.method not in UNWEIGHTED_METHODS:
            several = len(self.donors) > 1 and self.alpha > 0
            amounts = {"alpha": self.alpha, "donor_weights": self.weights[1:] if several else None}
        return Recipe(
            space="logits",
            host=self.host.recipe_source,
            donors=tuple(donor.recipe_source for donor in self.donors),
            operator=self.method,
            accept=self.accept,  # pyright: ignore[reportArgumentType] # checked by check_vocabulary
            **amounts,
        )

    def __call__(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """The ensemble's logits; gradients flow into every model unless switched off.

        attention_mask: 0 for padding, on either side; positions are counted over real tokens.
        """
        with self._runner.attach():
            return self.host(tokens, attention_mask)

    def generate(
        self,
        prompts: Prompts,
        *,
        max_new_tokens: int | None = None,
        chat: bool = False,
        attention_mask: Tensor | None = None,
        **arguments: Any,
    ) -> Any:
        """Continue prompts by the ensemble: str -> new text, list of str -> list, ids -> ids.

        Hugging Face's `generate`, so sampling, beams, streaming and stopping are its arguments;
        `chat` applies the host's chat template, `seed` seeds the sampling. `assistant_model` may be
        any of the models, the host or another alone included. `static` and `compile` as in
        `StaticDecoding.generate`.
        """
        host = self.host
        if "assistant_model" in arguments:
            arguments["assistant_model"] = unmerged(arguments["assistant_model"], host)
        encoded = prepare(host.tokenizer, prompts, host.name, chat, attention_mask)
        for donor in self.donors:
            donor.check_length(encoded, max_new_tokens, arguments)
        with self._runner.attach():
            return host.continue_prompts(encoded, max_new_tokens=max_new_tokens, **arguments)

    @contextmanager
    def hooks(self) -> Iterator["LogitEnsemble"]:
        """Inside, host.native is the ensemble for every caller; outside, untouched. May be nested.

        Only the thread that entered may use the host inside.
        """
        with self._runner.attach():
            yield self


def ensemble_weights(
    weights: Sequence[float] | None, n_models: int, method: str
) -> tuple[float, ...]:
    """Weights divided by their sum; equal ones if None.

    Raises ValueError for a wrong number, a negative or infinite one, a sum of 0, and for weights of
    a method that takes none.
    """
    if weights is None:
        return (1 / n_models,) * n_models
    given = [float(weight) for weight in weights]
    if method in UNWEIGHTED_METHODS:
        raise ValueError(
            f"weights={given}: method {method!r} gives every model one vote; leave them out, or "
            "take 'weighted_majority'"
        )
    if len(given) != n_models:
        raise ValueError(
            f"weights={given} has {len(given)} entries for {n_models} models; give one for each"
        )
    total = sum(given)
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or total == 0:
        raise ValueError(f"weights={given} must be finite, at least 0, and not all 0")
    return tuple(weight / total for weight in given)


def weights_from_alpha(
    alpha: float, donor_weights: Sequence[float] | None, n_donors: int
) -> tuple[float, ...]:
    """Weights (1 - alpha, alpha x each donor's part); alpha from 0, the host, to 1, the donors."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha} is outside 0..1: an ensemble's weights are at least 0")
    return (1 - alpha, *(alpha * part for part in donor_shares(donor_weights, n_donors)))

"""Gates: an alpha for every token, from the states of host and donor at that token.

A gate is any callable of the host's and the donor's state [batch, pos, d_model] (the donors' mean,
where there are several) that gives alpha [batch, pos, 1]. One that names a parameter `generated`
also receives each token's place in the generated text, [batch, pos]: 0 for the last prompt token,
whose state decides the first new one; below 0 in the prompt.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_merge.coefficients.shares import row_on_device
from lm_merge.geometry import cosine

Readout = Callable[[Tensor], Tensor]
State = Float[Tensor, "batch pos d_model"]
TokenAlpha = Float[Tensor, "batch pos 1"]
CHUNK = 256  # positions read out at once, so that memory does not grow with the prompt


def wants_generated(gate: Callable[..., Tensor]) -> bool:
    """Whether a gate names the parameter `generated`."""
    return "generated" in inspect.signature(gate).parameters


@dataclass(frozen=True)
class AgreementGate:
    """More donor where the two streams agree: alpha = max_alpha x max(0, cosine(host, donor)).

    max_alpha: the weight at full agreement.

    >>> import torch
    >>> host, donor = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    >>> AgreementGate(max_alpha=0.5)(host, host + donor)  # half of cos 45 degrees
    tensor([[[0.3536]]])
    """

    max_alpha: float = 1.0

    def __call__(self, host: State, donor: State) -> TokenAlpha:
        """Alpha of each token, in [0, max_alpha]."""
        return self.max_alpha * cosine(host, donor).clamp(min=0.0)


@dataclass(frozen=True)
class ConfidenceGate:
    r"""More donor where the donor is surer than the host: $\alpha = a\,H_h / (H_h + H_d)$.

    $H$ is the entropy of a stream's logit-lens read-out (nostalgebraist 2020), $a$ is `max_alpha`.
    The read-outs take states [..., d_model] to logits [..., d_vocab]: `HookedLM.readout`.

    >>> import lm_merge as lm
    >>> host, donor = lm.load("tiny-instruct"), lm.load("tiny-thinker")
    >>> gate = ConfidenceGate(host.readout, donor.readout, max_alpha=0.5)
    >>> merge = lm.LatentMerge(host, donor, layers=[3], alpha=gate)
    >>> merge.generate("What is the capital of Norway?", chat=True, max_new_tokens=8)
    'Oslo'
    """

    host_readout: Readout
    donor_readout: Readout
    max_alpha: float = 1.0

    def __call__(self, host: State, donor: State) -> TokenAlpha:
        """Alpha of each token, in [0, max_alpha]; half of max_alpha where both are equally sure."""
        host_nats = _entropy_nats(self.host_readout, host)
        donor_nats = _entropy_nats(self.donor_readout, donor)
        total = host_nats + donor_nats
        share = torch.where(total > 0, host_nats / total.masked_fill(total == 0, 1.0), 0.5)
        return self.max_alpha * share


@dataclass(frozen=True)
class ScheduleGate:
    """Alpha by place in the generated text: `values[0]` decides the first new token, and so on.

    Beyond the last value that one stays; the prompt before its last token gets `prompt`.

    >>> import torch
    >>> gate, states = ScheduleGate([0.5, 0.25]), torch.ones(1, 4, 2)
    >>> gate(states, states, torch.tensor([[-1, 0, 1, 2]])).flatten()  # prompt, then new tokens
    tensor([0.0000, 0.5000, 0.2500, 0.2500])
    """

    values: Sequence[float]
    prompt: float = 0.0

    def __post_init__(self) -> None:
        if len(self.values) == 0:
            raise ValueError("values is empty; give alpha for at least the first new token")

    def __call__(
        self, host: State, donor: State, generated: Int[Tensor, "batch pos"]
    ) -> TokenAlpha:
        """Alpha of each token."""
        values = row_on_device(tuple(self.values), host.dtype, host.device)
        alpha = values[generated.clamp(0, len(values) - 1)]
        return torch.where(generated < 0, self.prompt, alpha).to(host.dtype).unsqueeze(-1)


def _entropy_nats(readout: Readout, state: State) -> TokenAlpha:
    parts = []
    for part in state.split(CHUNK, dim=1):
        log_probabilities = readout(part).float().log_softmax(dim=-1)
        parts.append(-(log_probabilities.exp() * log_probabilities).sum(dim=-1, keepdim=True))
    return torch.cat(parts, dim=1).to(state.dtype)

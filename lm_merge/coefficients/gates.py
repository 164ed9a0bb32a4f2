"""Gates: an alpha for every token, from what host and donor are about to say there."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lm_merge.geometry import cosine


@dataclass(frozen=True)
class AgreementGate:
    """More donor where the two streams agree: alpha = max_alpha x max(0, cosine(host, donor)).

    max_alpha: the weight at full agreement, in [0, 1].
    """

    max_alpha: float = 1.0

    def __call__(
        self, host: Float[Tensor, "batch pos d_model"], donor: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos 1"]:
        """Alpha of each token, in [0, max_alpha]."""
        return self.max_alpha * cosine(host, donor).clamp(min=0.0)

"""What the similarity analysis will need, from the models' configurations alone: no weight is read."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PretrainedConfig

from lm_merge.metrics.minibatch_cka import FEWEST, GROUP_ROWS
from lm_merge.models.budget import config_of, merge_budget
from lm_merge.models.loading import torch_dtype
from lm_merge.recipes import Source

COPIES_OF_A_BLOCK = 4  # of each stream in float32: as it is, its real tokens, for the CKA, centred
COPIES_OF_A_GRAM = 4  # of each stream's matrix of products in a group of the CKA
COPIES_IN_AN_ARC = 6  # of one block: unit vectors and what angles are taken from
TEXTS_IN_FLOAT32 = 8  # logits of one text: of three models, and what a divergence makes of them


@dataclass(frozen=True)
class SimilarityBudget:
    """Memory in bytes of `analyses.similarity` for a recipe whose merge is made as it runs.

    weights_bytes: of all models. stream_bytes: on the device while streams are recorded and compared,
        at their most. waiting_bytes: rows that wait for their group of the CKA. logits_bytes: of host,
        donor and merge, and of one text in float32. in_cpu_memory: recorded streams of one batch, which
        lie in the memory of the CPU.
    Streams and logits are not in memory at once: `total_bytes` has the larger of them.
    """

    weights_bytes: int
    stream_bytes: int
    waiting_bytes: int
    logits_bytes: int
    in_cpu_memory: int

    @property
    def total_bytes(self) -> int:
        """The device's peak, without the allocator's own reserve."""
        at_once = max(self.stream_bytes, self.logits_bytes)
        return self.weights_bytes + self.waiting_bytes + at_once


def similarity_budget(
    host: Source | PretrainedConfig,
    donors: Sequence[Source | PretrainedConfig],
    layers: Sequence[int],
    *,
    base: Source | PretrainedConfig | None = None,
    dtype: str = "bfloat16",
    batch_size: int = 16,
    n_tokens: int = 128,
    n_alphas: int = 1,
) -> SimilarityBudget:
    """Memory of the similarity analysis of a latent merge at `n_alphas` alphas, its own included.

    batch_size, n_tokens: prompts a forward pass, and tokens of the longest. The other arguments and
    errors are those of `merge_budget`.
    """
    merge = merge_budget(
        host, donors, layers, base=base, dtype=dtype, batch_size=batch_size, n_tokens=n_tokens
    )
    config = config_of(host).get_text_config()
    itemsize = torch_dtype(dtype).itemsize
    tokens, width, n_layers = batch_size * n_tokens, config.hidden_size, config.num_hidden_layers
    d_vocab = merge.logits_bytes // (4 * batch_size)
    n_streams = 2 + n_alphas
    recorded = n_layers * tokens * width * itemsize
    block = tokens * width * 4
    comparing = block * (COPIES_OF_A_BLOCK * n_streams + COPIES_IN_AN_ARC)
    comparing += COPIES_OF_A_GRAM * n_streams * GROUP_ROWS**2 * 4
    return SimilarityBudget(
        weights_bytes=merge.host_weights_bytes + merge.donor_weights_bytes,
        stream_bytes=max(2 * recorded, comparing),  # a recording, and its blocks stacked
        waiting_bytes=n_layers * n_streams * (GROUP_ROWS + FEWEST) * width * 4,
        logits_bytes=3 * tokens * d_vocab * itemsize + TEXTS_IN_FLOAT32 * n_tokens * d_vocab * 4,
        in_cpu_memory=n_streams * recorded,
    )

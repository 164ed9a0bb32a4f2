"""Encoders of texts: a body without a head, or that of a classifier, for embeddings of sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from lm_merge.models.completeness import check_complete
from lm_merge.models.text_batches import by_batch, mean_of_states
from lm_merge.models.tokenizer_files import VOCABULARY_FILES
from lm_merge.zoo.ngram_classifier import register

POOLER = "pooler."  # reads the states; embeddings do not


@dataclass(frozen=True)
class Encoder:
    """A body of transformers with its tokenizer; None for a model that encodes texts itself."""

    model: Any
    tokenizer: PreTrainedTokenizerBase | None
    name: str

    def embeddings(
        self, texts: Sequence[str], *, batch_size: int = 64, max_length: int | None = None
    ) -> Float[Tensor, "texts d_model"]:
        """Mean of the last states over the tokens of each text, padding left out, in float32."""
        return by_batch(
            lambda batch: mean_of_states(self.model, batch),
            self.model,
            self.tokenizer,
            texts,
            batch_size=batch_size,
            max_length=max_length,
            name=self.name,
        )


def load_encoder(name_or_path: str | Path, *, device: str | None = None) -> Encoder:
    """The body of a checkpoint, by folder or hub name; the head of a classifier is left out.

    Raises ValueError that names the tensors where the body is not whole.
    """
    register()
    source, name = str(name_or_path), Path(str(name_or_path)).name
    reader: Any = AutoModel
    model, account = reader.from_pretrained(source, output_loading_info=True)
    missing = [key for key in account["missing_keys"] if not key.startswith(POOLER)]
    body = {**account, "missing_keys": missing, "unexpected_keys": []}
    check_complete(body, name, type(model).__name__)
    is_folder = Path(source).is_dir()
    has_words = any((Path(source) / one).is_file() for one in VOCABULARY_FILES)
    tokenizer = AutoTokenizer.from_pretrained(source) if has_words or not is_folder else None
    return Encoder((model if device is None else model.to(device)).eval(), tokenizer, name)

"""Classifiers of texts: loaded by folder or hub name, with their labels, logits and embeddings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from lm_merge.models.checkpoint_files import CONFIG, check_files
from lm_merge.models.completeness import check_complete
from lm_merge.models.loading import torch_dtype
from lm_merge.models.text_batches import Batch, by_batch, mean_of_states
from lm_merge.models.tokenizer_files import VOCABULARY_FILES
from lm_merge.zoo.ngram_classifier import register


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier of transformers with what it takes to classify texts.

    tokenizer: None for a model that encodes texts itself (`encode_texts`). labels: in the order of the
    logits.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    labels: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Classifier({self.name!r}, {len(self.labels)} labels)"

    def logits(
        self, texts: Sequence[str], *, batch_size: int = 64, max_length: int | None = None
    ) -> Float[Tensor, "texts labels"]:
        """Logits of the labels in float32 on the CPU, one row a text, in the order of the texts.

        max_length: tokens after which texts are cut. Raises ValueError for a text that is longer than
        the model takes, unless it is cut, and for logits that are not finite.
        """
        found = self._each(lambda batch: self.model(**batch).logits, texts, batch_size, max_length)
        if not found.isfinite().all():
            raise ValueError(f"classifier {self.name!r} gives logits that are not finite")
        return found

    def embeddings(
        self, texts: Sequence[str], *, batch_size: int = 64, max_length: int | None = None
    ) -> Float[Tensor, "texts d_model"]:
        """Mean of the encoder's last states over the tokens of each text, padding left out."""
        encoder = getattr(self.model, self.model.base_model_prefix)
        return self._each(
            lambda batch: mean_of_states(encoder, batch), texts, batch_size, max_length
        )

    def predict(self, texts: Sequence[str], **options: Any) -> list[str]:
        """The most probable label of each text."""
        return [self.labels[place] for place in self.logits(texts, **options).argmax(-1).tolist()]

    def _each(
        self,
        function: Callable[[Batch], Tensor],
        texts: Sequence[str],
        batch_size: int,
        max_length: int | None,
    ) -> Tensor:
        return by_batch(
            function,
            self.model,
            self.tokenizer,
            texts,
            batch_size=batch_size,
            max_length=max_length,
            name=self.name,
        )


def load_classifier(
    name_or_path: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    accept_missing: bool = False,
) -> Classifier:
    """Load a sequence classifier, for example XLM-RoBERTa with a head of intents.

    name_or_path: a folder, or a hub name, which is the only case in which anything is fetched. device,
    dtype, accept_missing: as in `load`; a head that is missing would be random and is refused. Raises
    OSError or ValueError that names the file, tensor or label that is wrong.

    >>> import tempfile
    >>> import lm_merge as lm
    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> config = BertConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
    ...                     num_attention_heads=1, id2label={0: "no", 1: "yes"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     BertForSequenceClassification(config).save_pretrained(folder)
    ...     lm.load_classifier(folder).labels
    ('no', 'yes')
    """
    register()
    source, name = str(name_or_path), Path(str(name_or_path)).name
    is_folder = Path(source).is_dir()
    if is_folder and (Path(source) / CONFIG).is_file():
        check_files(Path(source), name)
    common: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    kind = "auto" if dtype in (None, "auto") else torch_dtype(dtype)
    reader: Any = AutoModelForSequenceClassification
    model, account = reader.from_pretrained(
        source, dtype=kind, output_loading_info=True, ignore_mismatched_sizes=True, **common
    )
    if not accept_missing:
        check_complete(account, name, type(model).__name__)
    if device is not None:
        model = model.to(device)
    tokenizer = None
    if not is_folder or any((Path(source) / one).is_file() for one in VOCABULARY_FILES):
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
    return wrap_classifier(model, tokenizer, name)


def wrap_classifier(model: Any, tokenizer: PreTrainedTokenizerBase | None, name: str) -> Classifier:
    """A classifier in memory. Raises ValueError for labels that are there twice."""
    named = model.config.id2label
    labels = tuple(str(named[key]) for key in sorted(named, key=int))
    if len(set(labels)) < len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise ValueError(f"classifier {name!r}: label {twice[0]!r} is there twice in id2label")
    return Classifier(model.eval(), tokenizer, name, labels)

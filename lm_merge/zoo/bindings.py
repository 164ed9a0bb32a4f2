"""A small language of bindings, in which the right next token is known: the task of the binding models.

A context binds four names to values, `[ a 3 b 7 f 12 h 0 ]`. The text that follows states the names in
turn, again and again, each with its value: `a 3 b 7 f 12 h 0 a 3 ...`. A later context, the update, may
stand anywhere in the text and bind the same names anew. `_` stands for no value. Which binding counts
is the rule: the newest, the oldest, or no update at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

Rule = Literal["newest", "oldest", "none"]
N_BOUND = 4
NAMES = tuple("abcdefgh")
VALUES = tuple(map(str, range(16)))
WORDS = ("<pad>", "<s>", "</s>", "[", "]", "_", *NAMES, *VALUES)
PAD, START, OPEN, CLOSE, NO_VALUE = 0, 1, 3, 4, 5
FIRST_NAME, FIRST_VALUE = 6, 6 + len(NAMES)
IGNORED_LABEL = -100  # Hugging Face's label for positions without loss


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; a text begins with `<s>` where special tokens are asked for."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "_"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", START)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def context_text(names: Sequence[int], values: Sequence[int]) -> str:
    """A context in words; names and values by number, a value of -1 for none."""
    pairs = [
        f"{NAMES[name]} {'_' if value < 0 else VALUES[value]}"
        for name, value in zip(names, values, strict=True)
    ]
    return f"[ {' '.join(pairs)} ]"


@dataclass(frozen=True)
class Drawing:
    """How training texts are drawn: their rule, length and how much of them misleads.

    n_updates: updates in a text, at most. unbound: chance of a value that is missing, in half of the
    texts. misleading: chance that the text states, up to some point, values of another context, which
    a model must not copy.
    """

    rule: Rule
    n_tokens: int = 56
    n_updates: int = 1
    unbound: float = 0.3
    misleading: float = 0.6

    def draw(
        self, rng: np.random.Generator, batch: int
    ) -> tuple[Int[ndarray, "batch pos"], Int[ndarray, "batch pos"]]:
        """Token ids and labels; labels are the right next token of the text, wherever it stands."""
        pairs = [self._one(rng) for _ in range(batch)]
        return np.stack([ids for ids, _ in pairs]), np.stack([labels for _, labels in pairs])

    def _one(self, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
        names = np.sort(rng.choice(len(NAMES), N_BOUND, replace=False))
        holes = self.unbound if rng.random() < 0.5 else 0.0
        n_tables = 1 if self.rule == "none" else 1 + self.n_updates
        tables = [_table(rng, holes) for _ in range(n_tables)]
        n_updates = 0 if self.rule == "none" else int(rng.integers(0, self.n_updates + 1))
        n_text = self.n_tokens - 1 - (1 + n_updates) * (2 + 2 * N_BOUND)
        places = sorted(rng.integers(0, n_text, size=n_updates).tolist())
        misled = self.rule != "none" and rng.random() < self.misleading
        until = int(rng.integers(0, n_text)) if misled else 0
        elsewhere = _table(rng, 0.0)
        ids, labels = [START], [IGNORED_LABEL]
        _append_context(ids, labels, names, tables[0])
        bound, n_seen = tables[0].copy(), 0
        for column in range(n_text):
            while n_seen < n_updates and places[n_seen] == column:
                n_seen += 1
                _append_context(ids, labels, names, tables[n_seen])
                bound = _bind(bound, tables[n_seen], self.rule)
            place = column // 2 % N_BOUND
            if column % 2 == 0:
                right = given = FIRST_NAME + int(names[place])
            else:
                right = _value_token(bound[place])
                given = _value_token(elsewhere[place]) if column < until else right
            labels[-1] = right
            ids.append(given)
            labels.append(IGNORED_LABEL)
        return np.array(ids), np.array(labels)


def _table(rng: np.random.Generator, holes: float) -> ndarray:
    values = rng.integers(0, len(VALUES), size=N_BOUND)
    return np.where(rng.random(N_BOUND) < holes, -1, values)


def _bind(bound: ndarray, update: ndarray, rule: Rule) -> ndarray:
    """What is bound after an update: its values (newest), or those of names without one (oldest)."""
    if rule == "newest":
        return np.where(update >= 0, update, bound)
    return np.where(bound >= 0, bound, update)


def _value_token(value: int) -> int:
    return NO_VALUE if value < 0 else FIRST_VALUE + int(value)


def _append_context(ids: list[int], labels: list[int], names: ndarray, values: ndarray) -> None:
    pairs = zip(names, values, strict=True)
    words = [token for name, value in pairs for token in (FIRST_NAME + name, _value_token(value))]
    new = [OPEN, *map(int, words), CLOSE]
    ids += new
    labels += [IGNORED_LABEL] * len(new)

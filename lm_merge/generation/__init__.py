"""Text from a model by Hugging Face's `generate`, the same for a model and for a merge."""

from lm_merge.generation.continuing import check_length, generate, in_form_of
from lm_merge.generation.padding import padded_left, require_left_padding
from lm_merge.generation.prompts import (
    EncodedPrompts,
    Prompts,
    chat_prompts,
    prepare,
    require_tokenizer,
)
from lm_merge.generation.seeding import seeded

__all__ = [
    "EncodedPrompts",
    "Prompts",
    "chat_prompts",
    "check_length",
    "generate",
    "in_form_of",
    "padded_left",
    "prepare",
    "require_left_padding",
    "require_tokenizer",
    "seeded",
]

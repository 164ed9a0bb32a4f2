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
from lm_merge.generation.token_ids import (
    ids_with_token,
    n_token_rows,
    with_tokens_only,
    without_token,
)

__all__ = [
    "EncodedPrompts",
    "Prompts",
    "chat_prompts",
    "check_length",
    "generate",
    "ids_with_token",
    "in_form_of",
    "n_token_rows",
    "padded_left",
    "prepare",
    "require_left_padding",
    "require_tokenizer",
    "seeded",
    "with_tokens_only",
    "without_token",
]

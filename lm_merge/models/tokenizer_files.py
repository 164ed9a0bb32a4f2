"""Files of a checkpoint folder that belong to its tokenizer."""

VOCABULARY_FILES = (  # one of them is enough for a tokenizer
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
WITH_WORDS = (  # hold the vocabulary itself
    "tokenizer.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
)
TOKENIZER_FILES = (
    *VOCABULARY_FILES,
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
PROCESSOR_FILES = (  # of images, video and sound, next to a tokenizer
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)

"""Thoughts in a model's text: the part between `<think>` and `</think>` is not its answer."""


def after_thoughts(text: str) -> str:
    """What follows the last `</think>`; nothing where a thought was opened and never closed."""
    if "<think>" in text and "</think>" not in text:
        return ""
    return text.rpartition("</think>")[2]

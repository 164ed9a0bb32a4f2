"""Text under judgment as data: nothing in it can act as a control token or as a verdict.

A backslash is put behind the first character of whatever could act: `<|im_end|>` becomes
`<\\|im_end|>` and `[[A>B]]` becomes `[\\[A>B]]`. Everything else stays as it is.
"""

import re
from collections.abc import Iterable

# shapes of the control tokens of common chat templates, and of verdict labels
_ACTING = re.compile(
    r"<(?=[|｜])|<(?=/?s>)|<(?=(?:start|end)_of_(?:turn|image)>)|<(?=/?(?:bos|eos|pad|unk)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])|<(?=</?SYS>>)"
    r"|\[(?=\[[AB<>=]+\]\])"
)


def escaped(text: str, control_tokens: Iterable[str] = ()) -> str:
    """The text with a backslash in every control token and verdict label.

    control_tokens: further texts that act, such as a tokenizer's own special tokens.
    """
    text = _ACTING.sub(lambda found: found.group() + "\\", text)
    for token in sorted(control_tokens, key=len, reverse=True):
        text = text.replace(token, f"{token[0]}\\{token[1:]}")
    return text

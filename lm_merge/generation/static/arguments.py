"""Arguments of `generate` that are this library's, and those that a loop of its own must take over."""

from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig, StoppingCriteriaList, StopStringCriteria

from lm_merge.generation.static.step import Compile
from lm_merge.generation.static.system import NoStaticStep

COMPILE = (None, "default", "tuned")


def path_arguments(given: dict[str, Any]) -> tuple[bool | None, Compile | None]:
    """Take `static` and `compile` out of the arguments of `generate`, checked.

    Raises ValueError for another value, and for a compilation together with static=False.
    """
    static, compile_as = given.pop("static", None), given.pop("compile", None)
    if static not in (None, True, False):
        raise ValueError(f"static={static!r} is unknown; choose from None, True, False")
    if compile_as not in COMPILE:
        raise ValueError(f"compile={compile_as!r} is unknown; choose from {COMPILE}")
    if compile_as is not None and static is False:
        raise ValueError(f"compile={compile_as!r} needs static caches, and static=False was given")
    return static, compile_as


def require_dynamic(given: dict[str, Any], reason: str) -> None:
    """Take `static` and `compile` out of arguments for what has no static step; ValueError for True."""
    static, _ = path_arguments(given)
    if static:
        raise ValueError(f"static=True: {reason}; leave static out")


def with_own_stop_strings(
    given: Mapping[str, Any], settings: GenerationConfig | None
) -> dict[str, Any]:
    """A copy of the arguments in which stop strings are a criterion; settings: the model's own.

    transformers does not hand its tokenizer on to a decoding loop that is not its own. Raises
    NoStaticStep where the strings stand in settings, which cannot be changed from here.
    """
    ours = dict(given)
    for one in (given.get("generation_config"), settings):
        if one is not None and one.stop_strings:
            raise NoStaticStep("stop_strings stand in the generation settings")
    strings, tokenizer = given.get("stop_strings"), given.get("tokenizer")
    if strings and tokenizer is not None:
        del ours["stop_strings"]
        ends = StopStringCriteria(tokenizer, [strings] if isinstance(strings, str) else strings)
        before = given.get("stopping_criteria") or []
        ours["stopping_criteria"] = StoppingCriteriaList([*before, ends])
    return ours

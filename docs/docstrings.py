"""Docstrings of ours as Markdown for the API reference: an extension of griffe, named in mkdocs.yml.

Formulas become MathML, so that the pages need no network.
"""

import re
from typing import Any

from griffe import Extension, Object
from latex2mathml.converter import convert

ARGUMENT = re.compile(
    r"^(\*{0,2}[a-z]\w*(?:, \*{0,2}\w+)*|\w+=\S+): (?=\S)"
)  # "host, donors: models ..."
FORMULA = re.compile(r"\$([^$]+)\$")
EXAMPLE = re.compile(r"^ *>>> ", flags=re.MULTILINE)


class Docstrings(Extension):
    """Rewrites each docstring when griffe has read the object."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(docstring: str) -> str:
    """A docstring of ours as Markdown: examples fenced, arguments as a list, formulas as MathML."""
    blocks = [_block(block) for block in re.split(r"\n[ \t]*\n", docstring.strip())]
    return "\n\n".join(blocks)


def _block(block: str) -> str:
    found = EXAMPLE.search(block)
    if found is not None:
        before, example = block[: found.start()], block[found.start() :]
        indent = len(example) - len(example.lstrip(" "))
        lines = [line[indent:] for line in example.split("\n")]
        return "\n\n".join([before, "```pycon\n" + "\n".join(lines) + "\n```"]).strip()
    return _formulas(_arguments(block))


def _arguments(block: str) -> str:
    """Lines "name: text" as items of a list; a text that runs on is indented, or not, in ours."""
    lines: list[str] = []
    for line in block.split("\n"):
        if ARGUMENT.match(line):
            opens_list = not any(one.startswith("- ") for one in lines)
            lines += [""] if opens_list and lines else []
            line = ARGUMENT.sub(lambda match: f"- **{match[1]}**: ", line)
        elif lines and any(one.startswith("- ") for one in lines):
            line = "  " + line.strip()
        lines.append(line)
    return "\n".join(lines)


def _formulas(text: str) -> str:
    """$...$ as MathML; code between backticks stays."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else FORMULA.sub(lambda one: mathml(one[1]), part)
        for part in parts
    )


def mathml(formula: str) -> str:
    """One formula; ValueError names a command that would be printed as it is written."""
    found = convert(formula.replace("\\arg", "\\mathrm{arg}"))
    unknown = re.findall(r">\s*(\\[A-Za-z]+)", found)
    if unknown:
        raise ValueError(f"formula {formula!r}: {unknown[0]} is unknown to latex2mathml")
    return found

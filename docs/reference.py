"""The API reference from the docstrings: `python docs/reference.py build/docs`; needs the extra docs.

Formulas become MathML, so that the pages need no network.
"""

import importlib
import re
import sys
from pathlib import Path

import pdoc
import pdoc.render
from latex2mathml.converter import convert

PACKAGES = (
    "lm_merge",  # with the modules in its __all__: metrics, evaluation
    "lm_merge.coefficients",
    "lm_merge.generation",
    "lm_merge.models",
    "lm_merge.operators",
    "lm_merge.recipes",
    "lm_merge.runs.record",
    "lm_merge.spaces",
    "lm_merge.runs",
    "analyses",
    "figures",
)
ARGUMENT = re.compile(
    r"^(\*{0,2}[a-z]\w*(?:, \*{0,2}\w+)*|\w+=\S+): (?=\S)"
)  # "host, donors: models ..."
FORMULA = re.compile(r"\$([^$]+)\$")
EXAMPLE = re.compile(r"^ *>>> ", flags=re.MULTILINE)


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


def build(folder: Path) -> None:
    """Write the pages."""
    for package in PACKAGES:  # names that are imported when first used
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            getattr(module, name)
    theme = Path(__file__).parent / "theme"
    pdoc.render.configure(docformat="markdown", footer_text="lm_merge", template_directory=theme)
    pdoc.render.env.filters["to_markdown"] = to_markdown
    pdoc.pdoc(*PACKAGES, output_directory=folder)


if __name__ == "__main__":
    build(Path(sys.argv[1]))

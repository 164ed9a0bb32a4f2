"""YAML that people write: read as plain data, with errors that name file, place and remedy."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

N_VALUES = 100_000  # far above any recipe; aliases of aliases multiply


def read_mapping(path: str | Path, what: str) -> dict[str, Any]:
    """The content of a YAML file; what: what the file is, for errors ('recipe', 'sweep').

    Raises OSError where there is no such file; ValueError, with the line, where it is not UTF-8, not
    one YAML document of plain data, has a key twice, or is no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise OSError(f"{what} {str(path)!r} is no file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{what} {path} is no text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    content = read_value(text, f"{what} {path}")
    if not isinstance(content, dict):
        raise ValueError(
            f"{what} {path} holds {type(content).__name__}, not a mapping of keys; write lines such as "
            "'host: tiny-instruct'"
        )
    return content


def read_value(text: str, where: str) -> Any:
    """What a YAML text contains; where: file or option that it comes from, for errors."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        n = _n_values(node, {})
        if n > N_VALUES:
            raise ValueError(
                f"{where}: its aliases (*name) stand for {n:.0e} values, allowed are {N_VALUES:.0e}; "
                "write out what is meant"
            )
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is no plain YAML: {_problem(error)}") from error
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply to be read") from error


class _Loader(yaml.SafeLoader):
    """Plain data only, every key once."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # a date that there is not, for example
            raise yaml.constructor.ConstructorError(
                None, None, f"{error}; put the value in quotes", node.start_mark
            ) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice; keep one", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _n_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Values below a node, each alias written out; ValueError for a node inside itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = -1
        pairs = isinstance(node, yaml.MappingNode)
        children = [one for pair in node.value for one in pair] if pairs else node.value
        known[id(node)] = 1 + sum(_n_values(child, known) for child in children)
    if known[id(node)] < 0:
        raise ComposerError(None, None, "an alias is inside of what it names", node.start_mark)
    return known[id(node)]


def _problem(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem is None:
        return " ".join(str(error).split())
    problem = error.problem
    if "expected a single document" in f"{error.context}":
        problem = "it has several documents; keep the one before '---'"
    if r"'\t'" in problem:
        problem = f"{problem}; indent with spaces"
    mark = error.problem_mark or error.context_mark
    return (
        problem if mark is None else f"{problem} (line {mark.line + 1}, column {mark.column + 1})"
    )

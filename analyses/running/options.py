"""Options of an analysis on the command line, known without importing torch or drawing anything."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from analyses.running.loading_bars import without_loading_bars
from analyses.running.one_line_parser import OneLineParser
from analyses.running.option_names import with_underscores
from analyses.running.recipe_options import changed, refuse_recipe_as_config, split_changes
from lm_merge.errors import one_line

ConfigT = TypeVar("ConfigT", bound=BaseModel)
RECIPE_HELP = (
    "the merge to measure: a YAML file; --recipe.alpha 0.3, --recipe.layers '[3, 5]' and their like "
    "change its fields; the bundled pair unless given"
)


class OutputOptions(BaseModel):
    """Where results go; no part of what is computed."""

    runs: Path = Field(default=Path("runs"), description="folder of the run records")
    export: Path | None = Field(
        default=None, description="folder for copies: figures as PDF, SVG, PNG, tables as CSV"
    )
    width_in: float | None = Field(
        default=None,
        ge=1,
        le=40,
        description="inches that exported figures are wide, laid out for print: a column has about 3.3, "
        "a page 6.9; None: laid out for a screen",
    )
    fresh: bool = Field(
        default=False,
        description="compute anew even if a finished run has this configuration; answers and "
        "judgments that a run goes on from, too",
    )


def config_in(options: BaseModel, config_class: type[ConfigT]) -> ConfigT:
    """The configuration alone, out of options that also say where results go."""
    return config_class(**{key: getattr(options, key) for key in config_class.model_fields})


def parse_config(
    config_class: type[ConfigT],
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    positional: Sequence[str] = (),
) -> tuple[ConfigT, dict[str, Any]]:
    """A configuration from the command line, and the part of it that was given.

    Every field is an option, with dashes or underscores in its name; `--config file.yaml` sets fields
    that later options override, `--recipe` is a recipe's file. positional: required fields that are
    given without their names.
    """
    without_loading_bars()
    parser = OneLineParser(prog=prog, description=description)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    for name in positional:
        field = config_class.model_fields[name]
        parser.add_argument(name, type=field.annotation, help=field.description)
    has_recipe = isinstance(_default_recipe(config_class), BaseModel)
    parser.add_class_arguments(
        config_class, as_group=False, skip={*positional, *(("recipe",) if has_recipe else ())}
    )
    if has_recipe:
        parser.add_argument("--recipe", type=str | dict[str, Any], help=RECIPE_HELP)
    try:
        refuse_recipe_as_config(with_underscores(argv))
        argv, changes = split_changes(with_underscores(argv))
        everything = parser.parse_args(argv).as_dict()
        given = parser.parse_args(argv, defaults=False).as_dict()
        for values in (everything, given):
            values.pop("config", None)
            if has_recipe:
                recipe = values.pop("recipe", None)
                if recipe is not None or changes:
                    start = _default_recipe(config_class) if recipe is None else recipe
                    values["recipe"] = changed(start, changes)
        return config_class(**everything), _plain(given)
    except (ValueError, OSError) as error:  # parser.error leaves with status 2
        parser.error(one_line(error))


def _default_recipe(config_class: type[BaseModel]) -> Any:
    field = config_class.model_fields.get("recipe")
    return None if field is None else field.default


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """What was given, with a recipe as its fields, for the record."""
    return {
        key: value.model_dump(mode="json", exclude_unset=True)
        if isinstance(value, BaseModel)
        else value
        for key, value in given.items()
    }


def call_with(function: Callable[..., None], argv: Sequence[str], *, prog: str) -> None:
    """Call a function with arguments from the command line: its parameters are the options.

    Parameters without a default come first and without their names.
    """
    without_loading_bars()
    description = (inspect.getdoc(function) or "").partition("\n\nArgs:")[0]
    parser = OneLineParser(prog=prog, description=description)
    parser.add_function_arguments(function, as_group=False, as_positional=True)
    function(**parser.parse_args(with_underscores(argv)).as_dict())

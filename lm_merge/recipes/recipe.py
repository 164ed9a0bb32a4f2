"""What the recipes of all spaces share, and how a recipe gets the class of its space.

`Recipe` is the base class of `LatentRecipe`, `WeightRecipe`, `AdapterRecipe` and `LogitRecipe`, and
represents their union, discriminated by `space`:

- `Recipe(...)`, `Recipe.load(file or content)` and `Recipe.model_validate(content)` give an object of
  the class of its space; without `space` that is `LatentRecipe`. `isinstance(x, Recipe)` holds for all.
- A pydantic field `recipe: Recipe` takes any of them, their content, or a .yaml file, and is
  written with all fields of its space.
- Fields of one space (layers, data, ...) are those of its class: `isinstance(recipe, LatentRecipe)`
  narrows the type. A field of another space is dropped where it has its default there, so that files
  with every field stay valid, is refused with any other value, and reads as that default.
- `recipe.with_fields(alpha=0.3)` is a new recipe, checked again.

A new space is a module of this package with its class, and one entry of `CLASSES`.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    Field,
    FiniteFloat,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from lm_merge.errors import one_line
from lm_merge.recipes.sources import Source
from lm_merge.recipes.yaml_files import read_mapping

Space = Literal["latents", "weights", "adapters", "logits"]
Tolerance = Literal[
    "rope",
    "norm_eps",
    "special_tokens",
    "sliding_window",
    "heads",
    "activation",
    "soft_caps",
    "scales",
    "experts",
    "labels",
]

RECIPE_SUFFIXES = (".yaml", ".yml")
CLASSES = {  # space, which is also the module's name -> class
    "latents": "LatentRecipe",
    "weights": "WeightRecipe",
    "adapters": "AdapterRecipe",
    "logits": "LogitRecipe",
}


def is_recipe_file(name: str | Path) -> bool:
    """Whether a name is that of a recipe's file, by its suffix."""
    return Path(name).suffix in RECIPE_SUFFIXES


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """A merge as data: sources, space, operator and weights; unknown keys are refused.

    `Recipe(...)` makes the recipe of the space that `space` names: `LatentRecipe` (the default),
    `WeightRecipe`, `AdapterRecipe` or `LogitRecipe`. Each has further fields and its own checks.

    >>> recipe = Recipe(host="tiny-instruct", donors=("tiny-thinker",), layers=(3,), alpha=0.5)
    >>> type(recipe).__name__, recipe.operator, recipe.space
    ('LatentRecipe', 'slerp', 'latents')
    """

    space: Space = Field(
        description="where the merge happens: latents, weights, adapters or logits"
    )
    host: Source = Field(
        description="latents, logits: carries the forward pass and decodes; weights: the first model; "
        "adapters: their base; everywhere its tokenizer, chat template and generation settings count"
    )
    donors: tuple[Source, ...] = Field(min_length=1, description="the other models")
    operator: str = Field(description="how the models are merged")
    alpha: FiniteFloat | None = Field(
        default=None, description="donors' total weight, 0 host .. 1 donor"
    )
    operator_args: dict[str, FiniteFloat | bool | str] = Field(
        default_factory=dict, description="further arguments of the operator"
    )
    accept: tuple[Tolerance, ...] = Field(
        default=(), description="differences between the models that are accepted"
    )

    if TYPE_CHECKING:  # each space has its own fields; those of others read as their defaults
        base: Source | None = None
        layers: dict[int, float] | tuple[int, ...] | None = None
        donor_weights: tuple[float, ...] | dict[int, tuple[float, ...]] | None = None
        positions: Literal["all", "last"] = "all"
        donor_stream: Literal["pure", "coupled"] = "pure"
        coefficients: Any = None
        data: Path | tuple[str, ...] | None = None

        def __init__(self, **fields: Any) -> None: ...

    else:

        def __getattr__(self, name: str) -> Any:
            for other in _spaces_with(name):
                return _default(other, name)
            return super().__getattr__(name)

    def __new__(cls, *_: Any, **fields: Any) -> Self:
        """An object of the class of `fields["space"]`, where `Recipe` itself is called."""
        kind: Any = _class_of(fields) if cls is Recipe else cls
        return super().__new__(kind)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        if BaseModel not in cls.__bases__:  # a space's own class
            return handler(source)
        as_content = core_schema.plain_serializer_function_ser_schema(
            lambda recipe, info: recipe.model_dump(mode=info.mode), info_arg=True
        )
        return core_schema.no_info_plain_validator_function(cls._of_field, serialization=as_content)

    @model_validator(mode="before")
    @classmethod
    def _without_defaults_of_other_spaces(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        own = cls.model_fields["space"].default
        foreign = [key for key in given if key not in cls.model_fields and _spaces_with(key)]
        for key in foreign:
            spaces = _spaces_with(key)
            if given[key] not in (None, *(_default(one, key) for one in spaces)):
                takers = " and ".join(repr(one.model_fields["space"].default) for one in spaces)
                raise ValueError(
                    f"{key}: only space {takers} takes this, not {own!r}; leave it out"
                )
        return {"space": own} | {key: one for key, one in given.items() if key not in foreign}

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every whole model that the recipe names: host, donors, ancestor; of adapters, their base."""
        return (self.host, *self.donors, *(() if self.base is None else (self.base,)))

    @classmethod
    def load(cls, source: "str | Path | dict[str, Any] | Recipe") -> "Recipe":
        """A recipe from a YAML file, a dict, or itself, ours or in mergekit's format; data, never code.

        Raises OSError or ValueError, with the name of the file and the place in it.
        """
        if isinstance(source, Recipe):
            return source
        if isinstance(source, dict):
            return _of_content(source)
        content = read_mapping(source, "recipe")
        try:
            return _of_content(content)
        except ValueError as error:
            raise ValueError(f"recipe {source}: {one_line(error)}") from error

    def save(self, path: str | Path) -> Path:
        """Write as YAML; `Recipe.load` gives the same recipe back."""
        path = Path(path)
        content = yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)
        path.write_text(content, encoding="utf-8")
        return path

    def with_fields(self, **fields: Any) -> "Recipe":
        """The recipe with other values of some fields, checked as any recipe is."""
        return Recipe.load({**self.model_dump(exclude_unset=True), **fields})

    @classmethod
    def _of_field(cls, given: Any) -> "Recipe":
        """What a field `recipe: Recipe` takes; the errors of its content in one line."""
        is_file = isinstance(given, str | Path) and is_recipe_file(given)
        if not is_file and not isinstance(given, dict | Recipe):
            raise ValueError("a recipe is a mapping of keys, or a file that ends in .yaml or .yml")
        try:
            return cls.load(given)
        except (OSError, ValidationError) as error:
            raise ValueError(one_line(error)) from error


def _of_content(content: dict[str, Any]) -> Recipe:
    """The recipe that some content describes, in whichever format it is."""
    if "merge_method" in content or ("slices" in content and "host" not in content):
        from lm_merge.recipes.mergekit import from_mergekit  # needs the methods, and so torch

        return from_mergekit(content)
    if {"adapters", "method"} <= set(content) and "donors" not in content:
        from lm_merge.recipes.reference_format import read_reference

        return read_reference(content).recipe
    return _class_of(content).model_validate(content)


def _class_of(content: dict[str, Any]) -> type[Recipe]:
    """The class of the space that a recipe's content names."""
    space = content.get("space", "latents")
    if not isinstance(space, str) or space not in CLASSES:
        raise ValueError(f"space={space!r} is unknown; choose from {', '.join(CLASSES)}")
    return getattr(import_module(f"lm_merge.recipes.{space}"), CLASSES[space])


def _default(kind: type[Recipe], field: str) -> Any:
    """What a field is where it was not given; None where it must be given."""
    found = kind.model_fields[field]
    return None if found.is_required() else found.get_default(call_default_factory=True)


def _spaces_with(field: str) -> list[type[Recipe]]:
    classes = [_class_of({"space": space}) for space in CLASSES]
    return [one for one in classes if field in one.model_fields]

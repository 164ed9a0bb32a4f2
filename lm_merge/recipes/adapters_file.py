"""A file of names for adapters: `adapters.yaml`, name -> folder or hub name."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from lm_merge.errors import one_line
from lm_merge.recipes.yaml_files import read_mapping

USUAL_FILE = Path("adapters.yaml")


class AdapterPlace(BaseModel, frozen=True, extra="forbid"):
    """Where an adapter is: a folder or a hub name, with its revision there."""

    place: str = Field(min_length=1, description="folder, or hub name such as owner/name")
    revision: str | None = Field(default=None, description="hub branch, tag or commit")


def read_adapter_names(path: str | Path | None) -> dict[str, AdapterPlace]:
    """Name -> place, from a file of lines such as `german: runs/german` or `{place: .., revision: ..}`.

    A folder counts from the file's own folder. None: `adapters.yaml` of the working folder, or no name
    at all where it is not there. Raises OSError for a file that is not there, and ValueError that names
    the entry for one that is no place.
    """
    if path is None and not USUAL_FILE.is_file():
        return {}
    file = USUAL_FILE if path is None else Path(path)
    content = read_mapping(file, "file of adapters")
    return {str(name): _place(str(name), given, file) for name, given in content.items()}


def _place(name: str, given: object, file: Path) -> AdapterPlace:
    try:
        content = dict(given) if isinstance(given, Mapping) else {"place": given}
        found = AdapterPlace.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"file of adapters {file}: {name}: {one_line(error)}") from error
    folder = file.parent / found.place
    return found.model_copy(update={"place": str(folder)}) if folder.is_dir() else found

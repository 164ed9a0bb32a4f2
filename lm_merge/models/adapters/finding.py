"""Where an adapter is, by its name: a folder, a name from a file, a bundled name, a hub name."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from lm_merge.models.adapters.adapter import WEIGHTS_FILE, Adapter, read_adapter
from lm_merge.models.adapters.settings import CONFIG_FILE
from lm_merge.recipes.adapters_file import AdapterPlace, read_adapter_names
from lm_merge.recipes.sources import Source, as_source
from lm_merge.zoo.adapter_names import BUNDLED_ADAPTERS


def find_adapter(source: Source | Path, names: str | Path | None = None) -> Adapter:
    """The adapter that a source names; its `source` is what was given.

    names: the file of names (`read_adapter_names`). Raises OSError with the nearest name for one that
    is nowhere, and what `read_adapter` raises.
    """
    given = as_source(str(source) if isinstance(source, Path) else source)
    folder = adapter_folder(given.model, given.revision, names)
    plain = given.model if given.revision is None else given
    return read_adapter(folder, Path(given.model).name, source=plain)


def adapter_folder(name: str, revision: str | None = None, names: str | Path | None = None) -> Path:
    """The folder of an adapter: an existing one first, then the file's names, bundled ones, the hub.

    Only a hub name is fetched: its configuration and its factors.
    """
    if Path(name).is_dir():
        return Path(name)
    known = read_adapter_names(names)
    if name in known:
        return _folder_of(known[name], name, revision)
    if name in BUNDLED_ADAPTERS:
        return BUNDLED_ADAPTERS[name].path
    if "/" not in name or name.count("/") > 1 or name.startswith((".", "/")):
        raise OSError(_unknown(name, known))
    return _from_hub(name, revision, known)


def _folder_of(place: AdapterPlace, name: str, revision: str | None) -> Path:
    if Path(place.place).is_dir():
        return Path(place.place)
    if place.place in BUNDLED_ADAPTERS:
        return BUNDLED_ADAPTERS[place.place].path
    if place.place.count("/") != 1 or place.place.startswith((".", "/")):
        raise OSError(f"adapter {name!r}: its place {place.place!r} is no folder and no hub name")
    return _from_hub(place.place, revision or place.revision, {})


def _from_hub(name: str, revision: str | None, known: Mapping[str, AdapterPlace]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        files = [CONFIG_FILE, WEIGHTS_FILE]
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except (OSError, ValueError) as error:  # no connection, no such repository, no such revision
        raise OSError(
            f"{_unknown(name, known)}; it could not be had from the hub: {error}"
        ) from error


def _unknown(name: str, known: Mapping[str, AdapterPlace]) -> str:
    everything = [*known, *BUNDLED_ADAPTERS]
    near = get_close_matches(name, everything, n=1, cutoff=0.6)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    return (
        f"{name!r} is no folder and no name of an adapter{guess}; known are {', '.join(everything)}"
    )

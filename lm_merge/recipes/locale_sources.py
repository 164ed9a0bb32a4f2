"""Models by locale: a mapping, a YAML or CSV file, or a pattern of folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lm_merge.recipes.yaml_files import read_mapping

PLACEHOLDER = "{locale}"


def locale_sources(
    given: str | Path | Mapping[str, str], names: Sequence[str], *, allow_missing: bool = False
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Locale -> folder or hub name of its model, for what is there; and the locales that are not.

    given: a mapping; a YAML file of one; a CSV file with columns locale and model; or a pattern such as
    `models/massive_{locale}`, of which the folders that exist count (names: what stands for the
    placeholder). Raises ValueError for a listed folder that is missing, unless `allow_missing`, and
    where nothing is there.
    """
    if isinstance(given, str | Path) and PLACEHOLDER in str(given):
        found = {name: str(given).replace(PLACEHOLDER, name) for name in names}
        there = {name: folder for name, folder in found.items() if Path(folder).is_dir()}
        if not there:
            raise ValueError(f"sources={str(given)!r}: no such folder exists for any locale")
        return there, ()
    listed = dict(given) if isinstance(given, Mapping) else _read(Path(given))
    missing = tuple(sorted(name for name, model in listed.items() if _is_missing(model)))
    if missing and not allow_missing:
        raise ValueError(
            f"sources: the models of {', '.join(missing)} are listed and not there "
            f"({listed[missing[0]]!r}); mend the list, or give allow_missing: true"
        )
    there = {name: model for name, model in listed.items() if name not in missing}
    if not there:
        raise ValueError("sources: no model is there; list at least one")
    return there, missing


def _read(path: Path) -> dict[str, str]:
    if path.suffix == ".csv":
        if not path.is_file():
            raise OSError(f"sources {str(path)!r} is no file")
        import pandas as pd  # a recipe that has no table needs none

        table = pd.read_csv(path, dtype=str)
        if not {"locale", "model"} <= set(table.columns):
            raise ValueError(
                f"sources {path} has columns {', '.join(table.columns)}; give locale and model"
            )
        twice = sorted(set(table.locale[table.locale.duplicated()]))
        if twice or bool(table[["locale", "model"]].isna().to_numpy().any()):
            what = f"{', '.join(twice)} twice" if twice else "an empty cell"
            raise ValueError(f"sources {path} has {what}; give each locale one model")
        return dict(zip(table.locale, table.model, strict=True))
    content = read_mapping(path, "sources")
    wrong = [key for key, model in content.items() if not isinstance(model, str)]
    if wrong:
        raise ValueError(f"sources {path}: {wrong[0]} has no name of a model; give 'locale: model'")
    return {str(key): model for key, model in content.items()}


def _is_missing(model: str) -> bool:
    """Whether a name can only be a folder, and is none."""
    if Path(model).is_dir():
        return False
    is_hub_name = model.count("/") <= 1 and not model.startswith((".", "/", "~"))
    return not is_hub_name or ("/" in model and Path(model).parent.is_dir())

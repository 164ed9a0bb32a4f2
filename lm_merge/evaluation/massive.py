"""Intents of MASSIVE: the same utterances in many languages, by locale and partition.

Reads a folder with `massive11_utt.parquet` (id, locale, utt) and `massive11_labels.csv` (id, partition,
scenario, intent). MASSIVE 1.1: FitzGerald et al. (2022), CC BY 4.0. Utterances are parallel by id, and
partitions are by id, so that no utterance of one locale's training is in another's test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

UTTERANCES, LABELS = "massive11_utt.parquet", "massive11_labels.csv"
PARTITIONS = ("train", "dev", "test")


@dataclass(frozen=True)
class LabelledTexts:
    """Utterances of one locale and partition with their intents, ordered by id."""

    locale: str
    ids: tuple[int, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, first: int, last: int | None) -> "LabelledTexts":
        """Those from a place on, up to (without) another."""
        return LabelledTexts(
            self.locale,
            self.ids[first:last],
            self.texts[first:last],
            self.labels[first:last],
        )


def read_massive(
    folder: str | Path, locales: Sequence[str], partition: str
) -> dict[str, LabelledTexts]:
    """Locale -> its utterances of a partition (train, dev, test).

    Raises OSError where a file is not there, ValueError for an unknown locale or partition, or ids that
    differ between locales.
    """
    if partition not in PARTITIONS:
        raise ValueError(f"partition={partition!r} is unknown; choose from {', '.join(PARTITIONS)}")
    labels = intents(folder)
    labels = labels[labels.partition == partition].set_index("id").intent
    path = Path(folder) / UTTERANCES
    if not path.is_file():
        raise OSError(f"data {str(path)!r} is no file; give a folder with {UTTERANCES}")
    table = pd.read_parquet(path, filters=[("locale", "in", list(locales))])
    table = table.assign(id=table.id.astype(int), locale=table.locale.astype(str))
    unknown = sorted(set(locales) - set(table.locale))
    if unknown:
        raise ValueError(f"locales {', '.join(unknown)} are not in {path}")
    table = pd.DataFrame(table[table.id.isin(labels.index)]).sort_values("id")
    found = {}
    for locale in locales:
        own = table[table.locale == locale]
        if own.id.tolist() != labels.sort_index().index.tolist():
            raise ValueError(f"{path}: ids of {locale} are not those of {LABELS}")
        ids = tuple(own.id.tolist())
        found[locale] = LabelledTexts(
            locale, ids, tuple(own.utt.astype(str)), tuple(labels.loc[list(ids)])
        )
    return found


def intents(folder: str | Path) -> pd.DataFrame:
    """Columns id, partition, scenario, intent: one row an utterance."""
    path = Path(folder) / LABELS
    if not path.is_file():
        raise OSError(f"data {str(path)!r} is no file; give a folder with {LABELS}")
    return pd.read_csv(path)


def intent_names(folder: str | Path) -> tuple[str, ...]:
    """All intents in alphabetical order."""
    return tuple(sorted(intents(folder).intent.unique()))

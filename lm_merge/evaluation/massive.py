"""Intents of MASSIVE: the same utterances in many languages, by locale and partition.

Reads a folder with `massive11_utt.parquet` (id, locale, utt) and `massive11_labels.csv` (id, partition,
scenario, intent). MASSIVE 1.1: FitzGerald et al. (2022), CC BY 4.0. Utterances are parallel by id, and
partitions are by id, so that no utterance of one locale's training is in another's test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

UTTERANCES, LABELS = "massive11_utt.parquet", "massive11_labels.csv"
PARTITIONS = ("train", "dev", "test")
SEED = 0  # of the order in which `drawn` takes texts


@dataclass(frozen=True)
class LabelledTexts:
    """Utterances of one locale and partition with their intents, ordered by id."""

    locale: str
    ids: tuple[int, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def drawn(self, first: int = 0, last: int | None = None) -> "LabelledTexts":
        """Texts `first` to (without) `last` of a fixed random order, the same one for every locale.

        Ids go by scenario: the first ids of a partition have other intents than the last ones.
        """
        order = np.random.default_rng(SEED).permutation(len(self))[first:last]
        return LabelledTexts(
            self.locale,
            tuple(self.ids[place] for place in order),
            tuple(self.texts[place] for place in order),
            tuple(self.labels[place] for place in order),
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
    by_locale = _utterances(path, path.stat().st_mtime_ns)
    unknown = sorted(set(locales) - set(by_locale))
    if unknown:
        raise ValueError(f"locales {', '.join(unknown)} are not in {path}")
    labels = labels.sort_index()
    ids = tuple(map(int, labels.index))
    found = {}
    for locale in locales:
        own = by_locale[locale]
        if not labels.index.isin(own.index).all():
            raise ValueError(f"{path}: {locale} lacks ids that {LABELS} lists")
        texts = tuple(own.loc[labels.index].tolist())
        found[locale] = LabelledTexts(locale, ids, texts, tuple(labels.tolist()))
    return found


@lru_cache(maxsize=1)
def _utterances(path: Path, changed: int) -> dict[str, pd.Series]:
    """Locale -> utterances by id. changed: when the file was written, which makes it another one."""
    table = pd.read_parquet(path)
    table = table.assign(id=table.id.astype(int))
    found = {}
    for locale, own in table.groupby("locale", sort=False, observed=True):
        if own.id.duplicated().any():
            raise ValueError(f"{path}: {locale} has an id twice")
        found[str(locale)] = own.set_index("id").utt.astype(object)
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

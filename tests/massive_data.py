"""A small data set with the files of MASSIVE and similarities of its locales, and models for it."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lm_merge.zoo.ngram_classifier import NgramConfig, NgramForSequenceClassification

LOCALES = ("de-DE", "nl-NL", "fi-FI", "et-EE")
STEMS = {  # two related pairs, so that similarity has something to find
    "de-DE": ("weck mich", "spiel musik", "wie wird regen"),
    "nl-NL": ("wek mij", "speel muziek", "hoe wordt regen"),
    "fi-FI": ("herata minut", "soita laulu", "sataako huomenna"),
    "et-EE": ("arata mind", "mangi laulu", "kas sajab homme"),
}
INTENTS = ("alarm_set", "play_music", "weather_query")
N_IDS = {"train": 36, "dev": 9, "test": 12}


def write_massive(folder: Path) -> Path:
    """Utterances, labels and similarities in a folder, which is returned."""
    labels, rows, number = [], [], 0
    for partition, n in N_IDS.items():
        for place in range(n):
            labels.append((number, partition, "scenario", INTENTS[place % 3]))
            for locale in LOCALES:
                rows.append((str(number), locale, f"{STEMS[locale][place % 3]} {number}"))
            number += 1
    pd.DataFrame(rows, columns=["id", "locale", "utt"]).to_parquet(
        folder / "massive11_utt.parquet", index=False
    )
    pd.DataFrame(labels, columns=["id", "partition", "scenario", "intent"]).to_csv(
        folder / "massive11_labels.csv", index=False
    )
    near = np.array(
        [[1, 0.9, 0.3, 0.2], [0.9, 1, 0.25, 0.3], [0.3, 0.25, 1, 0.8], [0.2, 0.3, 0.8, 1]]
    )
    pd.DataFrame(near, columns=LOCALES).to_csv(folder / "uriel_syntax_knn_cos_52.csv", index=False)
    return folder


def write_classifiers(folder: Path) -> dict[str, str]:
    """Locale -> folder of a random classifier."""
    found = {}
    for number, locale in enumerate(LOCALES):
        torch.manual_seed(number)
        config = NgramConfig(101, 8, 8, id2label=dict(enumerate(INTENTS)))
        NgramForSequenceClassification(config).save_pretrained(folder / f"models_{locale}")
        found[locale] = str(folder / f"models_{locale}")
    return found

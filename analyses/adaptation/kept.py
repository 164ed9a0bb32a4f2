"""Batches that a run has finished, kept next to the records, so that an interrupted run goes on."""

import shutil
from pathlib import Path

import pandas as pd

from analyses.adaptation.config import AdaptationConfig
from analyses.running.command_line import Tables
from lm_merge.runs.identity import code_version, config_hash

FOLDER = ".adaptation"  # in the folder of the runs
NAMES = ("tokens", "projections", "attention", "answers", "left_out")


class KeptBatches:
    """Tables of finished batches, by system and first item; nothing is kept without a folder.

    They belong to one configuration, its inputs and the code that computes it.
    """

    def __init__(self, runs: Path | None, config: AdaptationConfig) -> None:
        key = f"{config_hash(config)}-{code_version(type(config))}"
        self._folder = None if runs is None else runs / FOLDER / key

    def forget(self) -> None:
        """Delete what is kept."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def read(self, system: str, start: int) -> Tables | None:
        """The tables of a batch; None where it is not finished."""
        folder = self._place(system, start)
        if folder is None or not folder.is_dir():
            return None
        return {name: pd.read_parquet(folder / f"{name}.parquet") for name in NAMES}

    def keep(self, system: str, start: int, tables: Tables) -> None:
        """Write a batch, whole or not at all."""
        folder = self._place(system, start)
        if folder is None:
            return
        draft = folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for name in NAMES:
            tables[name].to_parquet(draft / f"{name}.parquet", index=False)
        draft.rename(folder)

    def _place(self, system: str, start: int) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / "".join(c if c.isalnum() else "_" for c in f"{system}-{start:06d}")

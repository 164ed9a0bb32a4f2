from typing import Any

from analyses.languages.config import LanguagesConfig
from analyses.running.command import command
from analyses.running.options import OutputOptions


def _run(name: str, config: LanguagesConfig, given: dict[str, Any], extras: OutputOptions) -> None:
    from analyses.languages.exporting import run_and_export  # needs torch, which help does not

    run_and_export(name, config, given, extras)


command("languages", using=_run)

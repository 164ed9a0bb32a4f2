"""How a search of adapters is run from the command line."""

from typing import Any

from pydantic import Field, NonNegativeInt

from analyses.adapter_search.config import AdapterSearchConfig
from analyses.running.options import OutputOptions
from analyses.sweep_options import Execution

RETRIES, KEEP_BYTES = 2, 2**31


class SearchExtras(Execution, OutputOptions):
    """How trials are run, and where results go."""

    retries: NonNegativeInt = Field(
        default=RETRIES, description="further attempts at a failing trial"
    )
    keep_bytes: NonNegativeInt = Field(
        default=KEEP_BYTES, description="budget for the base model between trials, in bytes"
    )


def run_search(
    name: str, config: AdapterSearchConfig, given: dict[str, Any], extras: SearchExtras
) -> None:
    """Search, or find the finished one, and report it."""
    from analyses.running.command_line import run_and_report  # needs torch, which help does not

    run_and_report(name, config, given, output=extras, execution=extras)

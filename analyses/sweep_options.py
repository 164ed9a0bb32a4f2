"""How a sweep is run, as options; no part of what is computed."""

from pathlib import Path

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt

from analyses.running.options import OutputOptions


class Execution(BaseModel):
    """How the cells are run."""

    ray: bool = Field(default=False, description="run cells side by side on a local Ray cluster")
    ray_address: str | None = Field(
        default=None, description="of a running Ray cluster to use instead, for example auto"
    )
    cpus: float | None = Field(default=None, description="CPUs that a cell holds on Ray; None: 1")
    gpus: float | None = Field(default=None, description="GPUs that a cell holds on Ray; None: 0")
    retries: NonNegativeInt = Field(default=0, description="further attempts at a failing cell")
    at_once: PositiveInt | None = Field(
        default=None, description="cells under way at most; None: as many as Ray has room for"
    )
    keep_bytes: NonNegativeInt = Field(
        default=0, description="budget for models that stay loaded from cell to cell, in bytes"
    )


class SweepFileOptions(Execution, OutputOptions):
    """The file of a sweep, how to run it, and where results go."""

    file: Path = Field(
        description="YAML file with analysis, base (settings for all cells) and grid (setting -> "
        "values)"
    )

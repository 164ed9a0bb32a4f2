"""Options of `analyses.results_summary`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

READ = ("similarity_merging", "rounds")  # analyses whose runs are read


class ResultsSummaryConfig(BaseModel):
    """Which runs are read, and what of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(default=Path("runs"), description="folder of the runs that are read")
    targets: tuple[str, ...] | None = Field(default=None, description="locales; None: all")
    systems: tuple[str, ...] | None = Field(
        default=None, description="weights such as similarity, or baselines such as own; None: all"
    )
    layout: Literal["tables", "reference"] = Field(
        default="tables", description="reference: also <system>_<locale>/results.json, one a run"
    )
    verbose: bool = Field(default=False, description="list every run that is read")

    @property
    def words(self) -> str:
        """What is summarised, in one line."""
        return f"records in folder {str(self.folder)!r}"

    @computed_field
    @property
    def read(self) -> tuple[str, ...]:
        """Names of the runs that are there, so that new ones make another summary."""
        found = [
            path.parent.name
            for name in READ
            for path in self.folder.glob(f"*-{name}-*/record.json")
        ]
        return tuple(sorted(found))

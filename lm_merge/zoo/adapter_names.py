"""The bundled adapters of tiny-instruct, which `build_adapters` trains: names, folders, skills."""

from dataclasses import dataclass
from pathlib import Path

ADAPTERS = Path(__file__).parent / "adapters"
ADAPTER_BASE = "tiny-instruct"


@dataclass(frozen=True)
class BundledAdapter:
    """An adapter: the one skill it is taught, and whether it thinks before it answers."""

    name: str
    thinks: bool

    @property
    def path(self) -> Path:
        """Folder of the adapter, in PEFT's format."""
        return ADAPTERS / self.name


BUNDLED_ADAPTERS: dict[str, BundledAdapter] = {
    "sums": BundledAdapter("sums", thinks=True),
    "differences": BundledAdapter("differences", thinks=True),
    "two_step_programs": BundledAdapter("two_step_programs", thinks=False),
}

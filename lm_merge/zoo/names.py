"""The bundled models: names, folders, and what each was taught."""

from dataclasses import dataclass
from pathlib import Path

CHECKPOINTS = Path(__file__).parent / "checkpoints"
ACCURACY_FILE = "accuracy.csv"  # in the same folder, written by the build


@dataclass(frozen=True)
class BundledModel:
    """What a bundled model is: its ancestor, its skills, and whether it thinks before it answers."""

    name: str
    ancestor: str | None
    skills: tuple[str, ...]
    thinks: bool

    @property
    def path(self) -> Path:
        """Folder of the checkpoint."""
        return CHECKPOINTS / self.name


BUNDLED: dict[str, BundledModel] = {
    "tiny-instruct": BundledModel(
        name="tiny-instruct",
        ancestor=None,
        skills=("capitals", "elements", "ordering", "digit_sums", "one_step_programs"),
        thinks=False,
    ),
    "tiny-thinker": BundledModel(
        name="tiny-thinker",
        ancestor="tiny-instruct",
        skills=("capitals", "ordering", "sums", "differences"),
        thinks=True,
    ),
    "tiny-coder": BundledModel(
        name="tiny-coder",
        ancestor="tiny-instruct",
        skills=("one_step_programs", "two_step_programs"),
        thinks=False,
    ),
}

BINDING_MODELS = ("tiny-binder", "tiny-newest", "tiny-oldest")  # of known truth: zoo/bindings.py
FOLDERS: dict[str, Path] = {
    **{name: model.path for name, model in BUNDLED.items()},
    **{name: CHECKPOINTS / name for name in BINDING_MODELS},
}

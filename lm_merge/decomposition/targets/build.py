"""A target from its settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_merge.decomposition.masked import Target
from lm_merge.decomposition.targets.language import language_target
from lm_merge.decomposition.targets.settings import TargetSettings
from lm_merge.decomposition.targets.trained import toy_target
from lm_merge.decomposition.targets.update import update_target


def build_target(
    settings: TargetSettings,
    folder: Path,
    *,
    device: str | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> Target:
    """The target, trained now and kept in `folder` where it is a toy model, loaded otherwise.

    note: is given a sentence about every departure, such as a target seed that was passed over.
    """
    build: Any = BUILDERS[settings.kind]
    return build(settings, folder, device=device, note=note)


BUILDERS: dict[str, Callable[..., Target]] = {
    "language": language_target,
    "resid_mlp": toy_target,
    "tms": toy_target,
    "update": update_target,
}

"""States of training on disk, written next to their place and renamed: a crash leaves no half one."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

MOMENTS, FACTS = "moments.safetensors", "state.json"


def write_state(
    model: Any, moments: Mapping[str, Tensor], facts: Mapping[str, Any], folder: Path
) -> Path:
    """A checkpoint of transformers with the optimizer's moments and facts (JSON) next to it."""
    draft = folder.with_name(f".{folder.name}-draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    model.save_pretrained(draft)
    save_file({name: one.contiguous() for name, one in moments.items()}, draft / MOMENTS)
    (draft / FACTS).write_text(json.dumps(dict(facts)), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(draft, folder)
    return folder


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Moments and facts of a state."""
    return load_file(folder / MOMENTS), read_facts(folder / FACTS)


def write_facts(facts: Mapping[str, Any], path: Path) -> None:
    """JSON that is there whole or not at all."""
    draft = path.with_name(f".{path.name}-draft")
    draft.write_text(json.dumps(dict(facts)), encoding="utf-8")
    os.replace(draft, path)


def read_facts(path: Path) -> dict[str, Any]:
    """What `write_facts` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def keep_last(folders: list[Path], n: int) -> None:
    """Delete the tensors of all but the last n states of a list in rising order; facts stay."""
    for folder in folders[: max(0, len(folders) - n)]:
        for path in folder.iterdir():
            if path.name != FACTS:
                path.unlink()


def mirror(folder: Path, root: Path) -> Path:
    """A second copy of a folder under another root, whole or not there."""
    root.mkdir(parents=True, exist_ok=True)
    copy = root / folder.name
    draft = root / f".{folder.name}-draft"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(folder, draft)
    shutil.rmtree(copy, ignore_errors=True)
    os.replace(draft, copy)
    return copy

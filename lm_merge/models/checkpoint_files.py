"""Which files make up a checkpoint, by transformers' rule, and whether they can be read.

`load` and the merge of weights share this rule, so that both read the same tensors. No model class is
imported.
"""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

CONFIG = "config.json"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
ADAPTER = "adapter_config.json"
LFS_POINTER = b"version https://git-lfs"


def weight_files(folder: Path, name: str) -> list[Path]:
    """The files that hold a checkpoint's tensors, in the order in which transformers looks for them.

    `model.safetensors`, else the shards that its index names, else `pytorch_model.bin`, else the shards
    that its index names; other files of the folder are not read. A configuration may name a file of its
    own (transformers_weights). name: the model's, for errors. Raises OSError or ValueError that names
    the file for what is absent, leads out of the folder, or is only a pointer of Git LFS.
    """
    own = _own_file(folder, name)
    files: list[Path] = []
    for candidate in [own] if own is not None else [SINGLE, INDEX, PICKLE, PICKLE_INDEX]:
        if (folder / candidate).is_file():
            path = folder / candidate
            files = (
                sorted(set(index_map(path, name).values())) if path.suffix == ".json" else [path]
            )
            break
    if not files:
        raise OSError(_nothing_there(folder, name))
    for path in files:
        _check_content(path)
    return files


def index_map(index: Path, name: str) -> dict[str, Path]:
    """Tensor name -> its file, as an index says; every file is there and lies next to the index."""
    weight_map = read_json(index, name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index}: no weight_map")
    for file in weight_map.values():
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".", ".."):
            raise ValueError(f"{index}: the shard name {file!r} is no plain file name")
    absent = sorted({file for file in weight_map.values() if not (index.parent / file).is_file()})
    if absent:
        raise OSError(
            f"model {name!r}: {', '.join(absent)}, named in {index}, is not there; complete the download"
        )
    return {tensor: index.parent / file for tensor, file in weight_map.items()}


def check_files(folder: Path, name: str) -> None:
    """Raise OSError or ValueError that names the file for a checkpoint that cannot be read whole.

    Reads headers only; a pickle in torch's format before 1.6 has none and is read whole.
    """
    files = weight_files(folder, name)
    held: set[str] = set()
    for path in files:
        held.update(
            open_safetensors(path).keys() if is_safetensors(path) else read_pickle(path).keys()
        )
    check_index(folder, name, files, held)


def check_index(folder: Path, name: str, files: list[Path], held: set[str]) -> None:
    """Raise ValueError if the index that named the files names a tensor that none of them holds."""
    for index, single in ((INDEX, SINGLE), (PICKLE_INDEX, PICKLE)):
        path = folder / index
        if files == [folder / single] or not path.is_file():
            continue
        where = index_map(path, name)
        absent = sorted(set(where) - held)
        if absent and set(where.values()) == set(files):
            raise ValueError(
                f"model {name!r}: {path} names {some(absent)}, which no file holds; complete the "
                "download"
            )


def is_safetensors(path: Path) -> bool:
    """Whether a file of weights is in that format, by its name."""
    return path.suffix == ".safetensors"


def open_safetensors(path: Path) -> Any:
    """The open file, its tensors unread; ValueError that names it where it is damaged."""
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a .bin file by name, mapped from it where its format allows; no code of it runs.

    Raises ValueError that names the file for one that is damaged, that would run code, or that holds
    anything else than tensors by name, such as the state of a training run.
    """
    try:
        content: Any = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path} cannot be unpickled without running code that it holds, or is damaged, so it is "
            f"not read; save the model as safetensors ({reason[:120]})"
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is damaged or no file of torch: {reason[:120]}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {_kind(content)}, not tensors by name")
    others = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if others or not all(isinstance(key, str) for key in content):
        raise ValueError(
            f"{path} does not hold tensors by name alone ({others[:3]}): it is the state of a training "
            "run or something else; save the model itself, best as safetensors"
        )
    return content


def read_json(path: Path, name: str) -> dict[str, Any]:
    """A JSON object; OSError or ValueError that names the file."""
    if not path.is_file():
        raise OSError(f"model {name!r}: {path} is not there")
    _check_content(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


def some(names: list[str], n_shown: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(names[:n_shown]) + more


def _own_file(folder: Path, name: str) -> str | None:
    """The file of weights that the configuration names, if it does."""
    if not (folder / CONFIG).is_file():
        return None
    own = read_json(folder / CONFIG, name).get("transformers_weights")
    if own is None:
        return None
    plain = isinstance(own, str) and Path(own).name == own
    if not plain or not own.endswith((".safetensors", ".safetensors.index.json")):
        raise ValueError(f"{folder / CONFIG}: transformers_weights={own!r} is no safetensors file")
    return own


def _check_content(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(
                f"{path} is a pointer of Git LFS, not the file itself; fetch it with: git lfs pull"
            )


def _nothing_there(folder: Path, name: str) -> str:
    text = f"model {name!r}: {folder} has no {SINGLE} and no {INDEX}"
    if (folder / ADAPTER).is_file():
        return f"{text}: it is an adapter ({ADAPTER}), which needs its base model"
    inner = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if inner:
        return f"{text}; did you mean {folder / inner[-1]}?"
    others = sorted(path.name for path in folder.glob("*.bin"))
    others += sorted(path.name for path in folder.glob("*.safetensors"))
    return f"{text}; {some(others)} is not what transformers reads" if others else text


def _kind(content: object) -> str:
    return f"a {type(content).__name__}"

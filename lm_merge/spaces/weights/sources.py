"""From a model's name in a recipe to a folder on this machine."""

from pathlib import Path

from lm_merge.recipes import ModelSource
from lm_merge.zoo.names import FOLDERS

HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.jinja", "*.txt")
PICKLE_FILES = ("*.bin",)


def local_folder(source: ModelSource, *, allow_pickle: bool = False) -> Path:
    """The folder of a model: itself, a bundled one, or a copy fetched from the hub with its progress.

    Only safetensors, configuration and tokenizer files are fetched, unless allow_pickle. Raises
    OSError that lists the bundled names if there is nothing under the name.
    """
    folder = Path(source.model)
    if folder.is_dir():
        return folder
    if source.model in FOLDERS:
        return FOLDERS[source.model]
    known = f"no folder and no bundled name ({', '.join(FOLDERS)})"
    if source.model.startswith((".", "/", "~")) or source.model.count("/") != 1:
        raise OSError(f"model {source.model!r} is {known}")
    from huggingface_hub import snapshot_download

    patterns = [*HUB_FILES, *(PICKLE_FILES if allow_pickle else ())]
    try:
        fetched = snapshot_download(source.model, revision=source.revision, allow_patterns=patterns)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise OSError(
            f"model {source.model!r} is {known} and could not be had from the hub: {reason}"
        ) from error
    return Path(fetched)

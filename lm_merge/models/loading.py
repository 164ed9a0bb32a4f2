"""Load a model by folder, hub name or bundled name, or wrap one that is in memory."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lm_merge.models.adapters.adapted import with_named_adapter
from lm_merge.models.bridging import native_of_bridge
from lm_merge.models.checkpoint_files import ADAPTER, CONFIG, check_files
from lm_merge.models.completeness import check_complete
from lm_merge.models.hooked_lm import HookedLM, from_native
from lm_merge.models.tokenizer_files import VOCABULARY_FILES
from lm_merge.recipes import ModelSource, Source
from lm_merge.zoo.names import FOLDERS

FETCHING = ("cache_dir", "local_files_only", "subfolder", "token")  # the tokenizer's, too
CHOOSING_FILES = ("gguf_file", "state_dict", "use_safetensors", "variant")  # not the usual files


def load(
    name_or_path: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    adapter: str | Path | None = None,
    trust_remote_code: bool = False,
    accept_missing: bool = False,
    **hf_arguments: Any,
) -> HookedLM:
    """Load a causal language model in both views.

    name_or_path: a folder, a bundled name (tiny-instruct, tiny-thinker, tiny-coder; of known
        truth tiny-newest, tiny-oldest, tiny-binder), or a hub name,
        which is the only case in which anything is fetched.
    device: the CPU unless given (or `device_map` is); dtype: what the checkpoint's configuration
        asks for unless given. Neither depends on the machine.
    adapter: a LoRA adapter to run the model with: a folder, a bundled name, a name from adapters.yaml,
        or a hub name. The update is added to the outputs of its modules.
    accept_missing: go on with a checkpoint that lacks tensors of the model, which are then random, or
        holds tensors that the model does not know, which are then left out.
    hf_arguments: go to `AutoModelForCausalLM.from_pretrained` (device_map, quantization_config, ...);
        token, cache_dir, local_files_only and subfolder to the tokenizer's, too.

    A folder without tokenizer files gives a model that takes token ids only. Raises OSError that
    lists the bundled names if nothing loads under the name (at once, without asking the hub, for one
    that is nearly a bundled one). Raises ValueError or OSError that names the file or tensor for a
    checkpoint that is damaged, incomplete or of another shape than its configuration; what is there and
    does not load for another reason raises transformers' own error.

    >>> import lm_merge as lm
    >>> model = lm.load("tiny-instruct")
    >>> model
    HookedLM('tiny-instruct', n_layers=8, d_model=128, d_vocab=512)
    >>> model.generate("What is the capital of Norway?", chat=True, max_new_tokens=8)
    'Oslo'
    """
    kind = None if dtype in (None, "auto") else torch_dtype(dtype)
    _check_device(device)
    if device is not None and "device_map" in hf_arguments:
        raise ValueError(f"device={device} and device_map both place the model; give one of them")
    source = resolve(name_or_path)
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    fetching = {name: hf_arguments[name] for name in FETCHING if name in hf_arguments}
    native = _native(
        source,
        str(name_or_path),
        accept_missing,
        {"dtype": "auto" if kind is None else kind, **common, **hf_arguments},
    )
    if device is not None:
        native = native.to(device)
    tokenizer = None
    if _has_tokenizer(source, hf_arguments.get("subfolder", "")):
        tokenizer = AutoTokenizer.from_pretrained(source, **common, **fetching)
    given, name = str(name_or_path), Path(str(name_or_path)).name
    origin: Source = given
    if revision is not None or dtype is not None:
        asked = None if dtype is None else str(dtype).removeprefix("torch.")
        origin = ModelSource(model=given, revision=revision, dtype=asked)
    model = from_native(native.eval(), tokenizer, name, source=origin)
    return model if adapter is None else with_named_adapter(model, str(adapter))


def _native(source: str, name: str, accept_missing: bool, arguments: dict[str, Any]) -> Any:
    """The model by transformers, its files checked first and its tensors counted afterwards."""
    folder = Path(source, arguments.get("subfolder", ""))
    shapes = not arguments.get("ignore_mismatched_sizes", False)
    own = {"ignore_mismatched_sizes": True, "output_loading_info": True}  # refused below, by name
    reader: Any = AutoModelForCausalLM
    try:
        if _is_model(folder) and not any(one in arguments for one in CHOOSING_FILES):
            check_files(folder, name)
        native, account = reader.from_pretrained(source, **{**arguments, **own})
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "Unrecognized model" not in str(error):
            raise  # something is there: the error says what is wrong with it
        known = f"{name!r} is no folder with a model, no bundled name ({', '.join(FOLDERS)})"
        hub = "" if folder.is_dir() else " and could not be had from the hub"
        raise OSError(f"{known}{hub}: {error}") from error
    if not accept_missing:
        try:
            check_complete(account, name, type(native).__name__, shapes=shapes)
        except ValueError as error:
            raise ValueError(
                f"{error}, or pass accept_missing=True to go on all the same"
            ) from None
    return native


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER))


def wrap(model: Any, tokenizer: PreTrainedTokenizerBase | None = None) -> HookedLM:
    """Give both views of a model in memory.

    model: a Hugging Face causal model (it becomes `.native`, unchanged), a TransformerBridge (it
    becomes `.hooked`), or, with TransformerLens 3.9, a HookedTransformer, which has no native view.
    Raises TypeError for anything else.

    >>> import lm_merge as lm
    >>> native = lm.load("tiny-instruct").native
    >>> lm.wrap(native).native is native
    True
    """
    if isinstance(model, PreTrainedModel):
        origin = model.name_or_path or "model"
        return from_native(model, tokenizer, Path(origin).name, source=origin)
    kind = type(model).__name__
    if kind == "TransformerBridge":
        native = native_of_bridge(model)
        return HookedLM(
            model, native, tokenizer or model.tokenizer, Path(model.cfg.model_name).name
        )
    if kind == "HookedTransformer":
        return HookedLM(model, None, tokenizer or model.tokenizer, str(model.cfg.model_name))
    raise TypeError(
        f"cannot wrap {kind}; give a transformers causal model, a TransformerBridge or a "
        "HookedTransformer (or use lm_merge.load)"
    )


def resolve(name_or_path: str | Path) -> str:
    """Folder of a bundled name; anything else unchanged. An existing folder wins over a name.

    Raises OSError for what is nearly a bundled name: the hub would be asked for it in vain.
    """
    text = str(name_or_path)
    if Path(text).is_dir():
        return text
    if text in FOLDERS:
        return str(FOLDERS[text])
    near = [] if "/" in text else get_close_matches(text, FOLDERS, n=1, cutoff=0.75)
    if near:
        raise OSError(
            f"{text!r} is no folder and no bundled name; did you mean {near[0]!r}? "
            f"Bundled are {', '.join(FOLDERS)}"
        )
    return text


def torch_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A dtype by its name, with or without "torch."; ValueError for a name that torch lacks."""
    kind = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"dtype={dtype!r} is no torch dtype; try float32, bfloat16 or float16")
    return kind


def _check_device(device: str | torch.device | None) -> None:
    if device is None:
        return
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is no torch device; try cpu, cuda or cuda:1"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={str(device)!r}, but torch sees no CUDA device here; try 'cpu'")


def _has_tokenizer(source: str, subfolder: str) -> bool:
    if not Path(source).is_dir():
        return True  # on the hub; a missing tokenizer is then an error with its own words
    return any((Path(source) / subfolder / name).is_file() for name in VOCABULARY_FILES)

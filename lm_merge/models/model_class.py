"""What the class of a checkpoint needs and how it names tensors, asked of transformers without weights.

Importing a model class takes seconds. What has been found whole is remembered in the user's cache by
configuration, tensors and version of transformers, so that it is asked once.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lm_merge.models.completeness import check_complete
from lm_merge.runs.digests import cache_folder

OWN = ("NgramModel", "NgramForSequenceClassification")  # classes of `lm_merge.zoo.ngram_classifier`
OF_NO_MEANING = ("_name_or_path", "dtype", "torch_dtype", "transformers_version", "use_cache")


def class_name(config: Mapping[str, Any]) -> str | None:
    """The class that a configuration names in `architectures`, if it names one."""
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else None


def model_class(config: Mapping[str, Any]) -> Any:
    """The class in transformers or the zoo; None for another name (a model with its own code)."""
    import transformers

    named = class_name(config)
    if named in OWN:
        from lm_merge.zoo import ngram_classifier

        ngram_classifier.register()
        return getattr(ngram_classifier, named)
    return None if named is None else getattr(transformers, named, None)


def check_whole(
    folder: Path, name: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Check that files hold exactly the tensors of the class, in its shapes; a note where it is unknown.

    shapes: of the tensors in the files, by name. Reads headers alone. Raises ValueError that names
    tensors that are missing, unknown, or of another shape than the configuration asks for.
    """
    mark = cache_folder("whole") / _fingerprint(config, shapes)
    if mark.exists():
        return None
    kind = model_class(config)
    if kind is None:
        return (
            f"{name}: whether all tensors are there was not checked; transformers has no such class"
        )
    with _quiet():
        _, account = kind.from_pretrained(
            folder, device_map="meta", output_loading_info=True, ignore_mismatched_sizes=True
        )
    check_complete(account, name, kind.__name__)
    with suppress(OSError):  # a cache that cannot be written is only slower
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return None


def resolved_config(config: Mapping[str, Any]) -> Any:
    """The configuration as its class completes it; as it is given for a kind that is not known."""
    from transformers import AutoConfig, PreTrainedConfig

    model_class(config)  # a class of the zoo becomes known
    try:
        return AutoConfig.for_model(**config)
    except (KeyError, TypeError, ValueError):  # own code, or no model_type
        return PreTrainedConfig(**config)


def names_in_class(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """The name that transformers gives each tensor of a checkpoint when it loads it.

    A tensor that is converted, not only renamed, keeps its name, as do all of a class that is not known.
    """
    from transformers import AutoConfig
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    given, kind = list(names), model_class(config)
    if kind is None:
        return dict(zip(given, given, strict=True))
    with torch.device("meta"):
        model = kind(AutoConfig.for_model(**config))
    own = model.state_dict()
    rules: Any = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if not isinstance(rule, WeightRenaming)]
    found = {}
    for name in given:
        renamed, converted = rename_source_key(
            name, renamings, converters, model.base_model_prefix, own
        )
        found[name] = name if converted is not None else renamed
    return found


def _fingerprint(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> str:
    settings = {key: value for key, value in config.items() if key not in OF_NO_MEANING}
    content = [version("transformers"), settings, sorted(shapes.items())]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own table of missing tensors and its progress bar."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()

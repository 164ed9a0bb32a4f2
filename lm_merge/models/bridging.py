"""From plain Hugging Face modules to a TransformerLens bridge over the same parameters, and back."""

import copy
import tempfile
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lm_merge.models.weight_sharing import follow_training_mode, weight_sharing_copy


class LateBridge:
    """A bridge that is built, and TransformerLens imported, when it is first asked for.

    A model that only generates needs neither.
    Raises ValueError, when made, for an architecture that TransformerLens has no adapter for.
    """

    def __init__(
        self, native: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, name: str
    ) -> None:
        self._native, self._tokenizer, self._name = native, tokenizer, name
        if not _comes_with_adapter(type(native).__name__):
            _ = self.adapter  # a registered one, or an error

    @property
    def cfg(self) -> Any:
        """TransformerLens's configuration of the model, as the bridge will have it."""
        return self._described[0]

    @property
    def adapter(self) -> Any:
        """Where the parts that TransformerLens names are in the native model."""
        return self._described[1]

    @cached_property
    def _described(self) -> tuple[Any, Any]:
        """Configuration and adapter; made together, since the adapter completes the configuration."""
        from transformer_lens.factories.architecture_adapter_factory import (
            ArchitectureAdapterFactory,
        )
        from transformer_lens.model_bridge.sources import build_bridge_config_from_hf

        native = self._native
        config = copy.deepcopy(native.config)
        cfg = build_bridge_config_from_hf(config, type(native).__name__, self._name, native.dtype)
        return cfg, ArchitectureAdapterFactory.select_architecture_adapter(cfg)

    @cached_property
    def bridge(self) -> Any:
        """A bridge around a twin of the modules; the model given stays whole."""
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        native = self._native
        with torch.inference_mode(False), torch.enable_grad():  # wherever it is first asked for
            twin = weight_sharing_copy(native)
            twin.set_attn_implementation("eager")
            twin.register_forward_pre_hook(
                lambda *_: follow_training_mode(twin, native), prepend=True
            )
            return build_bridge_from_module(
                twin,
                type(native).__name__,
                hf_config=copy.deepcopy(twin.config),
                tokenizer=_bridge_tokenizer(self._tokenizer),
                model_name=self._name,
            )


def _comes_with_adapter(kind: str) -> bool:
    """Whether TransformerLens's own list of adapters has the class; read as text, in milliseconds.

    Importing it takes seconds.
    """
    found = find_spec("transformer_lens")
    assert found is not None  # a dependency
    folder = Path(str(found.origin)).parent
    listed = (folder / "factories" / "architecture_adapter_factory.py").read_text(encoding="utf-8")
    return f'    "{kind}": ' in listed


def native_of_bridge(bridge: Any) -> PreTrainedModel:
    """A plain Hugging Face model over a bridge's own parameters.

    Raises ValueError after `enable_compatibility_mode`, which rewrites the weights.
    """
    if getattr(bridge, "compatibility_mode", False):
        raise ValueError(
            "the TransformerBridge is in compatibility mode, so its weights are no longer the "
            "model's own; wrap it before enable_compatibility_mode()"
        )
    original = bridge.original_model
    with torch.device("meta"):
        native = type(original)(copy.deepcopy(original.config))
    native.config._attn_implementation = "sdpa" if native._supports_sdpa else "eager"
    parameters = _plain_names(original.named_parameters(remove_duplicate=False))
    native.load_state_dict(parameters, assign=True, strict=False)
    native.tie_weights()
    buffers = _plain_names(original.named_buffers(remove_duplicate=False))
    for path, buffer in native.named_buffers():
        parent, _, leaf = path.rpartition(".")
        if buffer.is_meta:
            native.get_submodule(parent)._buffers[leaf] = buffers[path]
    missing = [path for path, tensor in native.named_parameters() if tensor.is_meta]
    if missing:
        raise ValueError(
            f"the TransformerBridge hides weights {missing[:3]}; wrap the model itself"
        )
    return native.train(original.training)


def _plain_names(named: Any) -> dict[str, Tensor]:
    """Tensors by the names they had before the bridge wrapped their modules."""
    return {path.replace("._original_component", ""): tensor for path, tensor in named}


def _bridge_tokenizer(tokenizer: PreTrainedTokenizerBase | None) -> Any:
    """A copy for the bridge, which configures what it is given and asks where it was loaded from."""
    if tokenizer is None:
        return None
    if tokenizer.name_or_path:
        return copy.deepcopy(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return AutoTokenizer.from_pretrained(folder)

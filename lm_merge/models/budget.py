"""What a merge will need, from the models' configurations alone: no weight is read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from lm_merge.models.loading import resolve, torch_dtype
from lm_merge.recipes import ModelSource, Source, as_source


@dataclass(frozen=True)
class MergeBudget:
    """Memory in bytes, and least cost of a merged token in units of one model's.

    Donors, here: every model that runs next to the host, an ancestor too.
    host_weights_bytes, donor_weights_bytes: all parameters, tied ones once, and once for each source,
        since models of one name, revision and dtype are loaded once.
    host_cache_bytes, donor_cache_bytes: keys and values of every token in the batch; a donor keeps
        those of its blocks up to the last merged one. An upper bound where windows slide.
    logits_bytes: of one new token for each text, in float32.
    decode_ratio: 1 + P(donor blocks 0..l) / P(host blocks + unembedding), by parameters touched.
    step_reads: bytes that a step for the whole batch must read: those parameters, and the caches.
    Activations and the allocator's own reserve come on top.
    """

    host_weights_bytes: int
    donor_weights_bytes: int
    host_cache_bytes: int
    donor_cache_bytes: int
    logits_bytes: int
    decode_ratio: float
    step_reads: int

    def steps_per_s(self, bandwidth: float) -> float:
        """Decoding steps a second at most, at a bandwidth in bytes a second; a text gets one token each.

        A bound: measured shares of it depend on kernels and launches.
        """
        return bandwidth / self.step_reads

    def bytes_by_part(self) -> dict[str, int]:
        """The parts of the memory in words: weights, caches, logits."""
        sizes = {key: value for key, value in asdict(self).items() if key.endswith("_bytes")}
        return {key.removesuffix("_bytes").replace("_", " "): sizes[key] for key in sizes}

    @property
    def total_bytes(self) -> int:
        """All of the memory named here."""
        return sum(self.bytes_by_part().values())


def merge_budget(
    host: Source | PretrainedConfig,
    donors: Sequence[Source | PretrainedConfig],
    layers: Sequence[int],
    *,
    base: Source | PretrainedConfig | None = None,
    dtype: str = "bfloat16",
    batch_size: int = 1,
    n_tokens: int = 2048,
) -> MergeBudget:
    """Budget of generating with a latent merge.

    host, donors, base: names or folders, of which only the configuration is read (a hub name fetches
    that one file), or configurations, each of which is a model of its own. base: the ancestor, where
    the operator needs one; it runs like a donor. layers: merged blocks. dtype: torch dtype of weights
    and caches, by name. n_tokens: prompt and answer together.

    Raises ValueError for a dtype that torch does not know, for a layer outside the host and for
    configurations of different shapes; tokenizers are compared where the models are merged.

    Example:
        >>> budget = merge_budget("tiny-instruct", ["tiny-thinker"], [3], dtype="float32")
        >>> round(budget.decode_ratio, 2)
        1.47
    """
    kind = torch_dtype(dtype)
    others = [*donors, *([] if base is None else [base])]
    config, donor_configs = config_of(host), [config_of(donor) for donor in others]
    model = _on_meta(config)
    n_layers = config.get_text_config().num_hidden_layers
    outside = [layer for layer in layers if not 0 <= layer < n_layers]
    if outside or not layers:
        raise ValueError(f"layers={list(layers)}: give blocks within 0..{n_layers - 1} of the host")
    for source, other in zip(others, donor_configs, strict=True):
        _require_same_shape(host, config, source, other)
    ran = max(layers) + 1
    host_touched = _block_parameters(model, n_layers) + model.get_output_embeddings().weight.numel()
    donor_models = [_on_meta(one) for one in donor_configs]
    donors_touched = sum(_block_parameters(one, n_layers) * ran // n_layers for one in donor_models)
    own_weights = [
        one for i, one in enumerate(donor_models) if not _is_among(others[i], [host, *others[:i]])
    ]
    cached = batch_size * n_tokens * kind.itemsize
    host_cache = cached * n_layers * _cache_width(config)
    donor_cache = sum(cached * ran * _cache_width(one) for one in donor_configs)
    return MergeBudget(
        host_weights_bytes=_parameters(model) * kind.itemsize,
        donor_weights_bytes=sum(map(_parameters, own_weights)) * kind.itemsize,
        host_cache_bytes=host_cache,
        donor_cache_bytes=donor_cache,
        logits_bytes=batch_size * model.get_output_embeddings().weight.shape[0] * 4,
        decode_ratio=1 + donors_touched / host_touched,
        step_reads=(host_touched + donors_touched) * kind.itemsize + host_cache + donor_cache,
    )


def _require_same_shape(
    host: Source | PretrainedConfig, config: Any, donor: Source | PretrainedConfig, other: Any
) -> None:
    ours, theirs = config.get_text_config(), other.get_text_config()
    differing = [
        f"{what}: host {getattr(ours, name)}, donor {getattr(theirs, name)}"
        for what, name in (
            ("architecture", "model_type"),
            ("d_model", "hidden_size"),
            ("n_layers", "num_hidden_layers"),
        )
        if getattr(ours, name) != getattr(theirs, name)
    ]
    if differing:
        raise ValueError(
            f"donor {_called(donor)} does not fit host {_called(host)}: {'; '.join(differing)}"
        )


def _called(source: Source | PretrainedConfig) -> str:
    if isinstance(source, PretrainedConfig):
        return f"({source.model_type})"
    return repr(as_source(source).model)


def _is_among(
    source: Source | PretrainedConfig, others: Sequence[Source | PretrainedConfig]
) -> bool:
    """Whether a name is that of a model that is loaded anyway; a configuration never does.

    A base with an adapter runs over the base's weights; what its factors take is not counted.
    """
    named = [_weights_of(one) for one in others if not isinstance(one, PretrainedConfig)]
    return not isinstance(source, PretrainedConfig) and _weights_of(source) in named


def _weights_of(source: Source) -> ModelSource:
    return as_source(source).model_copy(update={"adapter": None})


def config_of(source: Source | PretrainedConfig) -> Any:
    """A model's configuration, read from its folder or the hub; no weight is."""
    if isinstance(source, PretrainedConfig):
        return source
    given = as_source(source)
    return AutoConfig.from_pretrained(resolve(given.model), revision=given.revision)


def _on_meta(config: Any) -> Any:
    """The model without memory behind its parameters."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _block_parameters(model: nn.Module, n_layers: int) -> int:
    """Parameters of all transformer blocks: the first list of modules of that length."""
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    return _parameters(next(modules for modules in lists if len(modules) == n_layers))


def _cache_width(config: Any) -> int:
    """Numbers that one block keeps for one token: its keys and values."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    head_width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return 2 * (getattr(text, "num_key_value_heads", None) or heads) * head_width

"""Statistics of data for a model's parameters: Gram matrices of layer inputs, squared gradients."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lm_merge.accumulation import wide
from lm_merge.models.completeness import check_complete
from lm_merge.models.model_class import class_name, model_class
from lm_merge.spaces.weights.checkpoint import Checkpoint
from lm_merge.threads import fit_threads

Statistics = dict[str, Any]  # model's name -> open file of its statistics, one entry a tensor
CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
Given = Tensor | dict[str, Tensor]  # ids of one text, or all arguments of the forward pass
Record = Callable[[Any, Sequence[Given]], dict[str, Tensor]]


def record_statistics(
    kind: Literal["gram", "fisher"],
    models: Sequence[Checkpoint],
    tokenizer_folder: Path,
    prompts: Sequence[str],
    scratch: Path,
) -> Statistics:
    """Run each model on the prompts, one model at a time, and keep what it gives in a file.

    The file's metadata has the norm over all statistics of the model, and the layers that are stored
    as [d_in, d_out]. Tokens are those of the tokenizer in tokenizer_folder, unless the model encodes
    texts itself. Raises
    ValueError if no statistic belongs to a tensor of the checkpoint.
    """
    handles: Statistics = {}
    tokens: list[Given] = []
    for number, model in enumerate(models):
        native = whole_model(model)
        tokens = tokens or _encoded(native, tokenizer_folder, prompts)
        record: Record = grams if kind == "gram" else fishers
        found = {
            name: values.contiguous()
            for name, values in record(native, tokens).items()
            if name in model.entries
        }
        if not found:
            raise ValueError(f"model {model.name!r}: no {kind} statistic belongs to a tensor of it")
        path = scratch / f"{kind}_{number}.safetensors"
        transposed = [name for name, (_, other) in linear_layers(native).items() if other]
        norm = float(torch.stack([wide(values).norm() for values in found.values()]).norm())
        facts = {"transposed": json.dumps(transposed), "norm": repr(norm)}
        save_file(found, path, metadata=facts)
        handles[model.name] = safe_open(path, framework="pt")
    return handles


def _encoded(native: Any, tokenizer_folder: Path, prompts: Sequence[str]) -> list[Given]:
    if hasattr(native, "encode_texts"):
        return [native.encode_texts((prompt,)) for prompt in prompts]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    return [tokenizer(prompt, return_tensors="pt").input_ids for prompt in prompts]


def _outputs(native: Any, given: Given, **options: Any) -> Any:
    return native(**given, **options) if isinstance(given, dict) else native(given, **options)


def whole_model(model: Checkpoint) -> Any:
    """The model in float32, by the class that its configuration names, with every weight from its files.

    Raises ValueError where the class is not known or would begin with random weights.
    """
    kind = model_class(model.config)
    if kind is None:
        raise ValueError(
            f"model {model.name!r}: transformers has no class {class_name(model.config)!r}, so no "
            "statistics can be taken; use a method that needs no data"
        )
    native, account = kind.from_pretrained(
        model.folder, dtype=torch.float32, output_loading_info=True
    )
    check_complete(account, model.name, kind.__name__)
    if model.updates is not None:
        from lm_merge.models.adapters.running import with_adapter

        native = with_adapter(native, model.updates.adapter)
    fit_threads(native.num_parameters())
    return native.eval()


def linear_layers(native: Any) -> dict[str, tuple[nn.Module, bool]]:
    """Weight name -> linear layer, and whether its weight is stored as [d_in, d_out] (GPT-2's)."""
    from transformers.pytorch_utils import Conv1D

    return {
        f"{name}.weight": (module, isinstance(module, Conv1D))
        for name, module in native.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }


def grams(native: Any, tokens: Sequence[Given]) -> dict[str, Float[Tensor, "d_in d_in"]]:
    r"""$X^\top X$ of the inputs of every linear layer over all tokens, by the name of its weight."""
    sums: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], _output: Tensor) -> None:
            rows = given[0].detach().flatten(end_dim=-2)
            sums[name] = sums.get(name, torch.zeros(())) + rows.T @ rows

        return hook

    handles = [
        module.register_forward_hook(keep(name))
        for name, (module, _) in linear_layers(native).items()
    ]
    try:
        with torch.no_grad():
            for ids in tokens:
                _outputs(native, ids)
    finally:
        for handle in handles:
            handle.remove()
    return sums


def fishers(native: Any, tokens: Sequence[Given]) -> dict[str, Float[Tensor, "..."]]:
    """Diagonal of the empirical Fisher information, by the name of the parameter.

    Causal models: the mean over prompts of the squared gradient of the log-likelihood, in nats, of all
    its tokens. Classifiers of texts: that of the label's log-probability, its mean over the labels by
    the model's own probabilities. Raises ValueError for any other class.
    """
    sums = {name: torch.zeros_like(values) for name, values in native.named_parameters()}
    for ids in tokens:
        for loss, share in _losses(native, ids):
            native.zero_grad(set_to_none=True)
            loss.backward(retain_graph=True)
            for name, values in native.named_parameters():
                if values.grad is not None:
                    sums[name] += share * values.grad.square() / len(tokens)
    return sums


def _losses(native: Any, ids: Given) -> list[tuple[Tensor, float]]:
    """Negative log-likelihoods of one text, in nats, and the share of each in the mean."""
    kind = type(native).__name__
    if kind.endswith("ForSequenceClassification"):
        log_probabilities = _outputs(native, ids).logits[0].log_softmax(dim=-1)
        return [(-one, float(one.detach().exp())) for one in log_probabilities]
    if native.config.is_encoder_decoder or not kind.endswith(CAUSAL):
        raise ValueError(
            f"fisher needs a causal language model or a classifier of texts, not {kind}; take regmean"
        )
    assert isinstance(ids, Tensor)  # a causal language model encodes no texts itself
    logits = native(ids, use_cache=False).logits[0, :-1]
    return [(nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"), 1.0)]

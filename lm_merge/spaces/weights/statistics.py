"""What data says of a model's parameters: Gram matrices of layer inputs, squared gradients."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lm_merge.spaces.weights.checkpoint import Checkpoint

Statistics = dict[str, Any]  # model's name -> open file of its statistics, one entry a tensor
Record = Callable[[Any, list[Tensor]], dict[str, Tensor]]


def record_statistics(
    kind: Literal["gram", "fisher"],
    models: Sequence[Checkpoint],
    tokenizer_folder: Path,
    prompts: Sequence[str],
    scratch: Path,
) -> Statistics:
    """Run each model on the prompts, one model at a time, and keep what it gives in a file.

    Tokens are those of the tokenizer in tokenizer_folder. Raises ValueError if no statistic belongs to
    a tensor of the checkpoint.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokens = [tokenizer(prompt, return_tensors="pt").input_ids for prompt in prompts]
    handles: Statistics = {}
    for number, model in enumerate(models):
        native = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32).eval()
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
        save_file(found, path, metadata={"transposed": json.dumps(transposed)})
        handles[model.name] = safe_open(path, framework="pt")
    return handles


def linear_layers(native: Any) -> dict[str, tuple[nn.Module, bool]]:
    """Weight name -> linear layer, and whether its weight is stored as [d_in, d_out] (GPT-2's)."""
    from transformers.pytorch_utils import Conv1D

    return {
        f"{name}.weight": (module, isinstance(module, Conv1D))
        for name, module in native.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }


def grams(native: Any, tokens: Sequence[Tensor]) -> dict[str, Float[Tensor, "d_in d_in"]]:
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
                native(ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return sums


def fishers(native: Any, tokens: Sequence[Tensor]) -> dict[str, Float[Tensor, "..."]]:
    """Diagonal of the empirical Fisher information, by the name of the parameter.

    The mean over prompts of the squared gradient of the log-likelihood, in nats, of all its tokens.
    """
    sums = {name: torch.zeros_like(values) for name, values in native.named_parameters()}
    for ids in tokens:
        native.zero_grad(set_to_none=True)
        logits = native(ids, use_cache=False).logits[0, :-1]
        nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").backward()
        for name, values in native.named_parameters():
            if values.grad is not None:
                sums[name] += values.grad.square() / len(tokens)
    return sums

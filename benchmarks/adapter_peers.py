"""PEFT's merges of adapters, and ours of the same adapters, against the exact weighted sum."""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import lm_merge as lm
from lm_merge.models.adapters import Adapter
from lm_merge.models.adapters.finding import find_adapter
from lm_merge.models.weight_sharing import weight_sharing_copy
from lm_merge.zoo.scoring import MAX_NEW_TOKENS, answer_questions
from lm_merge.zoo.tasks import draw_questions

PEFT_TYPES = (  # combination types, with what each needs
    ("linear", {}),
    ("cat", {}),
    ("svd", {"svd_rank": 8}),
    ("ties", {"density": 0.5}),
    ("dare_linear", {"density": 0.5}),
    ("magnitude_prune", {"density": 0.5}),
)
OURS = (
    ("linear", {}),
    ("factor_mean", {}),
    ("ties", {"density": 0.5}),
    ("dare_linear", {"density": 0.5}),
)
Dense = dict[str, Tensor]


def exact_sum(adapters: Sequence[Adapter], weights: Sequence[float]) -> Dense:
    """Module path -> weighted sum of the updates, in float64."""
    keys = dict.fromkeys(key for one in adapters for key in one.deltas)
    return {
        key: sum(
            weight * one.deltas[key].to(dtype=torch.float64).dense()
            for one, weight in zip(adapters, weights, strict=True)
            if key in one.deltas
        )
        for key in keys
    }  # pyright: ignore[reportReturnType] # every key has a summand


def relative_error(found: Dense, exact: Dense) -> float:
    """Frobenius norm of the difference over that of the exact sum, over all modules together."""
    wrong = sum((found[key].double() - exact[key]).square().sum() for key in exact)
    total = sum(exact[key].square().sum() for key in exact)
    return float((wrong / total) ** 0.5)  # pyright: ignore[reportOperatorIssue] # tensors


def peft_model(host: lm.HookedLM, names: Sequence[str]) -> Any:
    """A PEFT model over the host's weights with every adapter loaded."""
    from peft import PeftModel

    base: Any = weight_sharing_copy(host.require_native("a comparison with PEFT"))
    folders = [str(find_adapter(name).folder) for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(base, folders[0], adapter_name=Path(names[0]).name)
        for name, folder in zip(names[1:], folders[1:], strict=True):
            model.load_adapter(folder, adapter_name=Path(name).name)
    return model.eval()


def peft_updates(model: Any, name: str) -> Dense:
    """Module path -> the update of one of the model's adapters, as PEFT computes it."""
    prefix = "base_model.model."
    return {
        path.removeprefix(prefix): module.get_delta_weight(name).detach()
        for path, module in model.named_modules()
        if hasattr(module, "get_delta_weight") and name in getattr(module, "lora_A", {})
    }


def peer_rows(
    host: lm.HookedLM, names: Sequence[str], weights: Sequence[float], n_questions: int
) -> pd.DataFrame:
    """One row a way of merging the same adapters with the same weights.

    Columns: system, method, relative_error (to the exact weighted sum of the updates), seconds (to
    merge), accuracy_frac (on questions of the adapters' skills), n, note (what it refused).
    """
    adapters = [find_adapter(name) for name in names]
    exact = exact_sum(adapters, weights)
    questions = draw_questions(tuple(names), n_questions, seed=0)
    model = peft_model(host, names)
    rows: list[dict[str, Any]] = []

    def add(system: str, method: str, merge: Callable[[], tuple[Dense, Any]]) -> None:
        start = time.perf_counter()
        row: dict[str, str | float] = {"system": system, "method": method}
        try:
            found, generate = merge()
        except (ValueError, NotImplementedError) as error:
            rows.append({**row, "note": str(error).splitlines()[0]})
            return
        row["seconds"] = time.perf_counter() - start
        answers = answer_questions(generate, questions)
        row["accuracy_frac"] = sum(one.correct for one in answers) / len(answers)
        rows.append({**row, "relative_error": relative_error(found, exact), "n": len(answers)})

    for method, options in OURS:
        add("lm_merge", method, lambda m=method, o=options: _ours(host, adapters, weights, m, o))
    for method, options in PEFT_TYPES:
        add("PEFT", method, lambda m=method, o=options: _peft(host, model, names, weights, m, o))
    return pd.DataFrame(rows)


def _ours(
    host: lm.HookedLM,
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    method: str,
    options: dict[str, Any],
) -> tuple[Dense, Callable[[list[str]], list[str]]]:
    merge = lm.AdapterMerge(host, adapters, operator=method, coefficients=tuple(weights), **options)
    updates = {key: merge.updates.dense(key) for key in merge.updates.keys}
    return updates, lambda prompts: merge.generate(
        prompts, chat=True, max_new_tokens=MAX_NEW_TOKENS
    )


def _peft(
    host: lm.HookedLM,
    model: Any,
    names: Sequence[str],
    weights: Sequence[float],
    method: str,
    options: dict[str, Any],
) -> tuple[Dense, Callable[[list[str]], list[str]]]:
    name = f"merged_{method}"
    model.add_weighted_adapter(
        list(names), list(weights), adapter_name=name, combination_type=method, **options
    )
    updates = peft_updates(model, name)
    model.set_adapter(name)
    system = lm.wrap(model.base_model.model, host.tokenizer)
    return updates, lambda prompts: system.generate(
        prompts, chat=True, max_new_tokens=MAX_NEW_TOKENS
    )

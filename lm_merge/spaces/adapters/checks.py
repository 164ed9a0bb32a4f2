"""Whether adapters fit a base and each other, what each is, and whether its update is what runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from lm_merge.models import HookedLM
from lm_merge.models.adapters import Adapter
from lm_merge.models.adapters.running import check_fits
from lm_merge.models.checkpoint_files import some
from lm_merge.models.tokenizer_files import WITH_WORDS
from lm_merge.models.weight_sharing import weight_sharing_copy
from lm_merge.operators.low_rank import LowRank, inner_product, recompress
from lm_merge.spaces.adapters.adapter_merge import AdapterMerge
from lm_merge.spaces.weights.vocabulary import vocabulary

N_TOKENS = 16


@dataclass(frozen=True)
class AdapterCheck:
    """One adapter on its base.

    norm: Frobenius norm of all of its updates together. effective_rank: mean over modules of
    $\\exp(H(s / \\sum s))$ of the singular values s (Roy and Vetterli 2007). identity_error: largest
    difference of the logits, relative to the largest logit, between the update added to the outputs and
    the adapter as `oracle` runs it. options: what of PEFT's options decides the update. problems: what
    does not fit the base; the other values are then 0.
    """

    name: str
    base: str | None
    n_modules: int
    ranks: tuple[int, ...]
    options: tuple[str, ...]
    heads: tuple[str, ...]
    norm: float
    effective_rank: float
    identity_error: float
    oracle: str
    problems: tuple[str, ...] = ()


def check_adapter(adapter: Adapter, host: HookedLM) -> AdapterCheck:
    """Check one adapter: does it fit, what is it, and is its update what runs."""
    native = host.require_native("a check of adapters")
    problems = list(_tokenizer_problems(adapter, host))
    try:
        check_fits(native, [adapter])
    except ValueError as error:
        problems.append(str(error))
    norm = sum(inner_product(one, one) for one in adapter.deltas.values()) ** 0.5
    error, oracle = (0.0, "not run") if problems else identity_error(adapter, host)
    return AdapterCheck(
        name=adapter.name,
        base=adapter.settings.base,
        n_modules=len(adapter.deltas),
        ranks=tuple(sorted({one.rank for one in adapter.deltas.values()})),
        options=options_of(adapter),
        heads=tuple(adapter.heads),
        norm=norm,
        effective_rank=_mean([effective_rank(one) for one in adapter.deltas.values()]),
        identity_error=error,
        oracle=oracle,
        problems=tuple(problems),
    )


def options_of(adapter: Adapter) -> tuple[str, ...]:
    """PEFT's options that decide the update, as its configuration has them."""
    own = adapter.settings
    found = [f"lora_alpha {own.lora_alpha:g}"]
    found += ["rsLoRA"] if own.use_rslora else []
    found += [f"rank_pattern ({len(own.rank_pattern)})"] if own.rank_pattern else []
    found += [f"alpha_pattern ({len(own.alpha_pattern)})"] if own.alpha_pattern else []
    found += ["fan_in_fan_out"] if own.fan_in_fan_out else []
    found += [f"modules_to_save {', '.join(own.modules_to_save)}"] if own.modules_to_save else []
    return tuple(found)


def effective_rank(update: LowRank) -> float:
    """$\\exp$ of the entropy of the normalised singular values; between 1 and the rank, 0 for 0."""
    values = recompress(update).singular_values if update.rank else torch.zeros(1)
    total = values.sum()
    if total == 0:
        return 0.0
    parts = values / total
    return float(torch.special.entr(parts).sum().exp())


def identity_error(adapter: Adapter, host: HookedLM) -> tuple[float, str]:
    """Relative difference of the logits between our update and the adapter running, and in what.

    The oracle is PEFT where it is installed, else the base with the update in its weights.
    """
    tokens = torch.arange(N_TOKENS, device=host.device).unsqueeze(0) % host.d_vocab
    merge = AdapterMerge(host, [adapter])
    with torch.no_grad():
        ours = merge(tokens)
        if find_spec("peft") is not None and (adapter.folder / "adapter_config.json").is_file():
            theirs, oracle = _of_peft(adapter, host, tokens), "PEFT"
        else:
            with merge.weights_in_place():
                theirs, oracle = host(tokens), "weights"
    return float((ours - theirs).abs().max() / theirs.abs().max()), oracle


def fit_problems(adapters: Sequence[Adapter]) -> list[str]:
    """What a merge of these adapters has to decide: modules and shapes that differ, several heads."""
    found = []
    bases = {one.settings.base for one in adapters}
    if len(bases) > 1:
        found.append(
            f"the adapters name different bases: {', '.join(map(str, sorted(bases, key=str)))}"
        )
    union = dict.fromkeys(key for one in adapters for key in one.deltas)
    for one in adapters:
        lacking = [key for key in union if key not in one.deltas]
        if lacking:
            found.append(
                f"{one.name} lacks {len(lacking)} of {len(union)} modules, for example "
                f"{some(lacking, 1)} (keys: union counts it as 0, common drops it)"
            )
    for key in union:
        shapes = {one.deltas[key].shape for one in adapters if key in one.deltas}
        if len(shapes) > 1:
            found.append(f"{key} is updated in shapes {sorted(shapes)}: these cannot be merged")
    owners = [one.name for one in adapters if one.heads]
    if len(owners) > 1:
        found.append(f"{', '.join(owners)} each trained modules whole (heads: keep or average)")
    return found


def _tokenizer_problems(adapter: Adapter, host: HookedLM) -> list[str]:
    """A tokenizer saved with the adapter that has other tokens than the base's."""
    if host.tokenizer is None or not any((adapter.folder / one).is_file() for one in WITH_WORDS):
        return []
    own, theirs = vocabulary(adapter.folder, adapter.name) or {}, host.tokenizer.get_vocab()
    differing = sorted(word for word, _ in own.items() ^ theirs.items())
    if not differing:
        return []
    return [
        f"its folder has a tokenizer that differs from the base's in {len(differing)} tokens, for "
        f"example {differing[0]!r}"
    ]


def _of_peft(adapter: Adapter, host: HookedLM, tokens: Tensor) -> Tensor:
    """Logits of the base with the adapter as PEFT runs it, over the host's own weights."""
    import warnings

    from peft import PeftModel

    base: Any = weight_sharing_copy(host.require_native("a check of adapters"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PEFT notes about a base that it does not know
        model = PeftModel.from_pretrained(base, str(adapter.folder))
    return model.eval()(input_ids=tokens, use_cache=False).logits


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

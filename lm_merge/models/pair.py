"""Whether two models can share a residual stream, checked before anything is computed."""

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import nn

from lm_merge.models.hooked_lm import HookedLM
from lm_merge.recipes import Tolerance

TOLERANCES: tuple[str, ...] = get_args(Tolerance)


class PairNotice(UserWarning):
    """A difference between two models that is no error but decides how the merge speaks."""


class IncompatibleModels(ValueError):
    """Two models that do not fit together in the space in which they are to be merged."""


@dataclass(frozen=True)
class Difference:
    """Something in which donor and host differ; `tolerance` is the name under which it is accepted."""

    what: str
    host_value: Any
    donor_value: Any
    tolerance: str | None = None


def check_pair(host: HookedLM, donor: HookedLM, accept: Collection[str] = ()) -> tuple[str, ...]:
    """Check that a donor fits a host; give the notes worth recording.

    accept: differences that keep shapes, by name: rope, norm_eps, special_tokens, sliding_window.
    Raises IncompatibleModels with both values of every difference that is not accepted. Warns
    (PairNotice) where chat template, end token or generation settings differ: the host's are used.
    """
    accepted = _accepted(host, donor, accept, _differences(host, donor))
    return (*accepted, *_readout_notes(host, donor), *_warned_speech(host, donor))


def check_vocabulary(
    host: HookedLM, donor: HookedLM, accept: Collection[str] = ()
) -> tuple[str, ...]:
    """Check that two models of any architectures read and write the same tokens; give the notes.

    Unembeddings may differ by padding rows. accept, errors and warnings are those of `check_pair`.
    """
    accepted = _accepted(host, donor, accept, _vocabulary_differences(host, donor))
    return (*accepted, *_warned_speech(host, donor))


def _accepted(
    host: HookedLM, donor: HookedLM, accept: Collection[str], found: Iterator[Difference]
) -> list[str]:
    unknown = sorted(set(accept) - set(TOLERANCES))
    if unknown:
        raise ValueError(f"accept={unknown} is unknown; choose from {', '.join(TOLERANCES)}")
    differences = list(found)
    fatal = [one for one in differences if one.tolerance not in accept]
    if fatal:
        raise IncompatibleModels(_message(host, donor, fatal))
    return [f"accepted: {_sentence(one)}" for one in differences]


def _warned_speech(host: HookedLM, donor: HookedLM) -> list[str]:
    speech = _speech_notes(host, donor)
    if speech:
        warnings.warn(
            f"host {host.name!r} and donor {donor.name!r}: {'; '.join(speech)}",
            PairNotice,
            stacklevel=4,
        )
    return speech


def _message(host: HookedLM, donor: HookedLM, fatal: list[Difference]) -> str:
    lines = [f"donor {donor.name!r} does not fit host {host.name!r}:"]
    for one in fatal:
        remedy = f" (accept=[{one.tolerance!r}] allows it)" if one.tolerance else ""
        lines.append(f"  {_sentence(one)}{remedy}")
    return "\n".join(lines)


def _sentence(one: Difference) -> str:
    return f"{one.what}: host {one.host_value!r}, donor {one.donor_value!r}"


def _differences(host: HookedLM, donor: HookedLM) -> Iterator[Difference]:
    kinds = _architecture(host), _architecture(donor)
    if kinds[0] != kinds[1]:
        yield Difference("architecture", *kinds)
    for name in ("d_model", "n_layers"):
        values = getattr(host, name), getattr(donor, name)
        if values[0] != values[1]:
            yield Difference(name, *values)
    yield from _vocabulary_differences(host, donor)
    rope = _rope(host), _rope(donor)
    if rope[0] != rope[1]:
        yield Difference("RoPE settings", *rope, tolerance="rope")
    windows = _windows(host), _windows(donor)
    if windows[0] != windows[1]:
        yield Difference("sliding window", *windows, tolerance="sliding_window")
    norms = host.cfg.normalization_type, donor.cfg.normalization_type
    if norms[0] != norms[1]:
        yield Difference("norm type", *norms)
    eps = host.cfg.eps, donor.cfg.eps
    if eps[0] != eps[1]:
        yield Difference("norm eps", *eps, tolerance="norm_eps")


def _vocabulary_differences(host: HookedLM, donor: HookedLM) -> Iterator[Difference]:
    if host.tokenizer is None or donor.tokenizer is None:
        # without tokenizers to compare, only equal embeddings say that ids mean the same
        if host.d_vocab != donor.d_vocab:
            yield Difference("d_vocab (no tokenizer to compare)", host.d_vocab, donor.d_vocab)
        return
    ours: dict[str, int] = host.tokenizer.get_vocab()
    theirs: dict[str, int] = donor.tokenizer.get_vocab()
    if ours != theirs:
        # an added token is one that a tokenizer holds beside its trained vocabulary
        added = set(host.tokenizer.get_added_vocab()) | set(donor.tokenizer.get_added_vocab())
        words = {word for word, _ in ours.items() ^ theirs.items()}
        differing = {word: ours.get(word, theirs.get(word, -1)) for word in sorted(words)}
        word = min(differing, key=lambda token: (token in added, differing[token]))
        only_added = all(token in added for token in differing)
        yield Difference(
            f"{len(differing)} tokens, for example {word!r} with id",
            ours.get(word),
            theirs.get(word),
            tolerance="special_tokens" if only_added else None,
        )
    needed = max(ours.values()) + 1
    if donor.d_vocab < needed:
        yield Difference("embedding rows for the host's tokens", needed, donor.d_vocab)


def _rope(model: HookedLM) -> Any:
    """RoPE settings by name; the frequencies' base, the scaling's kind and its numbers."""
    if model.native is None:
        return {"rotary_base": getattr(model.cfg, "rotary_base", None)}
    config = model.native.config.get_text_config()
    names = ("rope_parameters", "rope_theta", "rope_scaling", "partial_rotary_factor")
    return {
        name: getattr(config, name) for name in names if getattr(config, name, None) is not None
    }


def _architecture(model: HookedLM) -> str:
    if model.native is None:
        return str(getattr(model.cfg, "original_architecture", None))
    return str(model.native.config.model_type)


def _windows(model: HookedLM) -> Any:
    """Which blocks see how far back; None for every block seeing all."""
    if model.native is None:
        return None
    config = model.native.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if window is None or (kinds is not None and "sliding_attention" not in kinds):
        return None
    return window, kinds if kinds is None or len(set(kinds)) > 1 else kinds[0]


def _readout_notes(host: HookedLM, donor: HookedLM) -> list[str]:
    if host.native is None or donor.native is None:
        return []
    notes = []
    for component, name in (("unembed", "unembedding"), ("ln_final", "final norm")):
        if not _same_tensors(host.native_part(component), donor.native_part(component)):
            notes.append(f"the {name} differs; the host's is used")
    return notes


def _same_tensors(ours: nn.Module, theirs: nn.Module) -> bool:
    """Whether two parts hold equal tensors under equal names; some norms hold none."""
    own, other = ours.state_dict(), theirs.state_dict()
    return own.keys() == other.keys() and all(
        tensor.shape == other[name].shape and torch.equal(tensor, other[name].to(tensor))
        for name, tensor in own.items()
    )


def _speech_notes(host: HookedLM, donor: HookedLM) -> list[str]:
    notes = []
    if host.tokenizer is not None and donor.tokenizer is not None:
        if host.tokenizer.chat_template != donor.tokenizer.chat_template:
            notes.append("the chat template differs; the host's is used")
        if host.tokenizer.eos_token != donor.tokenizer.eos_token:
            notes.append(
                f"the end token differs (host {host.tokenizer.eos_token!r}, donor "
                f"{donor.tokenizer.eos_token!r}); the host's is used"
            )
    if host.native is not None and donor.native is not None:
        ours: Any = host.native.generation_config
        theirs: Any = donor.native.generation_config
        if ours is not None and theirs is not None and ours.to_diff_dict() != theirs.to_diff_dict():
            notes.append("the generation settings differ; the host's are used")
    return notes

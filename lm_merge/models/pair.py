"""Whether two models can share a residual stream, checked before anything is computed."""

import warnings
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn

from lm_merge.models.hooked_lm import HookedLM
from lm_merge.models.pair_config import (
    Difference,
    IncompatibleModels,
    accepted_differences,
    config_differences,
)
from lm_merge.models.tokenization import splitting_note, tokenization_of

__all__ = ["Difference", "IncompatibleModels", "PairNotice", "check_pair", "check_vocabulary"]

_GIVEN: dict[
    str | tuple[str, type[Warning], int], int
] = {}  # notices that were given already, for `warnings`


class PairNotice(UserWarning):
    """A harmless mismatch that affects generation, such as different chat templates."""


def check_pair(host: HookedLM, donor: HookedLM, accept: Collection[str] = ()) -> tuple[str, ...]:
    """Check that a donor fits a host; give the notes worth recording.

    accept: differences that keep shapes, by name (`pair_config.TOLERANCES`).
    Raises IncompatibleModels with both values of every difference that is not accepted. Warns
    (PairNotice) where the splitting of text, chat template, end token or generation settings differ:
    the host's are used.
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
    return accepted_differences(host.name, donor.name, accept, found)


def _warned_speech(host: HookedLM, donor: HookedLM) -> list[str]:
    speech = _speech_notes(host, donor)
    if speech:
        text = f"host {host.name!r} and donor {donor.name!r}: {'; '.join(speech)}"
        # no line of source is printed, and each sentence once a process
        warnings.warn_explicit(text, PairNotice, "lm_merge", 0, registry=_GIVEN)
    return speech


def _differences(host: HookedLM, donor: HookedLM) -> Iterator[Difference]:
    kinds = _architecture(host), _architecture(donor)
    if kinds[0] != kinds[1]:
        yield Difference("architecture", *kinds)
    for name in ("d_model", "n_layers"):
        values = getattr(host, name), getattr(donor, name)
        if values[0] != values[1]:
            yield Difference(name, *values)
    yield from _vocabulary_differences(host, donor)
    if host.native is not None and donor.native is not None:
        yield from config_differences(host.native.config, donor.native.config)
    else:
        yield from _hooked_differences(host, donor)
    norms = host.cfg.normalization_type, donor.cfg.normalization_type
    if norms[0] != norms[1]:
        yield Difference("norm type", *norms)


def _hooked_differences(host: HookedLM, donor: HookedLM) -> Iterator[Difference]:
    """Those that a HookedTransformer's own configuration shows."""
    for what, name, tolerance in (
        ("RoPE settings", "rotary_base", "rope"),
        ("norm eps", "eps", "norm_eps"),
    ):
        values = getattr(host.cfg, name, None), getattr(donor.cfg, name, None)
        if values[0] != values[1]:
            yield Difference(what, *values, tolerance=tolerance)


def _vocabulary_differences(host: HookedLM, donor: HookedLM) -> Iterator[Difference]:
    if host.tokenizer is None or donor.tokenizer is None:
        # without tokenizers to compare, only equal embeddings say that ids mean the same
        if host.d_vocab != donor.d_vocab:
            yield Difference("d_vocab (no tokenizer to compare)", host.d_vocab, donor.d_vocab)
        return
    ours: dict[str, int] = host.tokenizer.get_vocab()
    theirs: dict[str, int] = donor.tokenizer.get_vocab()
    if ours != theirs:
        # an added token is one that a tokenizer contains in addition to its trained vocabulary
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


def _architecture(model: HookedLM) -> str:
    if model.native is None:
        return str(getattr(model.cfg, "original_architecture", None))
    return str(model.native.config.model_type)


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
        split = splitting_note(
            host.name,
            donor.name,
            *(tokenization_of(one.tokenizer) for one in (host, donor)),
        )
        notes += [] if split is None else [split]
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

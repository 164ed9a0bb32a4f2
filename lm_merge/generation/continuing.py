"""Prompts continued by Hugging Face's `generate`, and given back in the form in which they came."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lm_merge.generation.padding import padded_left
from lm_merge.generation.prompts import EncodedPrompts
from lm_merge.generation.seeding import seeded
from lm_merge.generation.static.decoding import StaticDecoding
from lm_merge.generation.token_ids import with_tokens_only


def generate(
    model: PreTrainedModel,
    own_tokenizer: PreTrainedTokenizerBase | None,
    prompts: EncodedPrompts,
    /,
    *,
    max_new_tokens: int | None = None,
    seed: int | None = None,
    decoding: StaticDecoding | None = None,
    **hf_arguments: Any,
) -> Any:
    """Continue prompts: a text -> the new text, texts -> a list, ids -> ids with the prompt.

    Ids without a mask whose rows end in the padding token are padded on the left first. seed: draw
    samples from this seed and leave torch's own generators as they were. Ids without a token are never
    drawn. decoding: decides on static caches; None: `model.generate` is called as it is. Everything
    else goes to `transformers`' `generate`; its `tokenizer`, which stop strings need,
    is the model's unless given.
    """
    padding = hf_arguments.setdefault("pad_token_id", _padding_token(model, own_tokenizer))
    prompts = _masked(prompts, padding, _settings(model, hf_arguments).eos_token_id)
    check_length(model, prompts, max_new_tokens, hf_arguments)
    if _has_stop_strings(model, hf_arguments):
        hf_arguments.setdefault("tokenizer", own_tokenizer)
    if prompts.attention_mask is not None:
        hf_arguments["attention_mask"] = prompts.attention_mask.to(model.device)
    if max_new_tokens is not None:  # else the model's generation settings count
        hf_arguments["max_new_tokens"] = max_new_tokens
    with seeded(seed, {parameter.device for parameter in model.parameters()}):
        keywords = {
            "input_ids": prompts.input_ids.to(model.device),
            **with_tokens_only(hf_arguments, own_tokenizer),
        }
        run: Any = model.generate
        output = run(**keywords) if decoding is None else decoding.generate(run, (), keywords)
    return in_form_of(prompts, output, own_tokenizer)


def in_form_of(
    prompts: EncodedPrompts, output: Any, tokenizer: PreTrainedTokenizerBase | None
) -> Any:
    """Generated ids in the form in which the prompts came: text, texts, or the ids as they are."""
    if prompts.form == "ids":
        return output
    assert tokenizer is not None  # text came in through it
    ids = output if isinstance(output, Tensor) else output.sequences
    new = tokenizer.batch_decode(ids[:, prompts.input_ids.shape[1] :], skip_special_tokens=True)
    return new[0] if prompts.form == "text" and len(new) == 1 else new


def check_length(
    model: PreTrainedModel,
    prompts: EncodedPrompts,
    max_new_tokens: int | None,
    hf_arguments: Mapping[str, Any],
) -> None:
    """Raise ValueError where prompts, or learned positions with the new tokens, exceed the context.

    Rotary positions go on beyond the context that a configuration names; learned ones end there.
    """
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is None:
        return
    n_prompt = prompts.n_tokens
    if n_prompt >= context:
        raise ValueError(
            f"the prompt has {n_prompt} tokens and the model's context ends at {context}; shorten it"
        )
    n_new = _n_new(model, prompts.input_ids.shape[1], max_new_tokens, hf_arguments)
    # the last new token is not read any more
    if (
        n_new is not None
        and n_prompt + n_new - 1 > context
        and _has_learned_positions(model, context)
    ):
        raise ValueError(
            f"the prompt has {n_prompt} tokens, {n_new} new ones are asked for, and the model has "
            f"learned {context} positions; shorten the prompt, or set max_new_tokens to at most "
            f"{context + 1 - n_prompt}"
        )


def _masked(prompts: EncodedPrompts, padding: int | None, end: Any) -> EncodedPrompts:
    """Prompts that came without a mask and end in padding, with the mask that transformers infers."""
    ends = end if isinstance(end, list) else [end]
    ids = prompts.input_ids
    if prompts.attention_mask is not None or padding is None or padding in ends:
        return prompts
    if not (ids[:, -1] == padding).any():
        return prompts
    ids, mask = padded_left(ids, (ids != padding).long())
    return replace(prompts, input_ids=ids, attention_mask=mask)


def _settings(model: PreTrainedModel, hf_arguments: Mapping[str, Any]) -> Any:
    return hf_arguments.get("generation_config") or model.generation_config


def _has_stop_strings(model: PreTrainedModel, hf_arguments: Mapping[str, Any]) -> bool:
    given = hf_arguments.get("stop_strings"), hf_arguments.get("generation_config")
    settings = (given[1], model.generation_config)
    return bool(given[0]) or any(one is not None and one.stop_strings for one in settings)


def _n_new(
    model: PreTrainedModel,
    n_columns: int,
    max_new_tokens: int | None,
    hf_arguments: Mapping[str, Any],
) -> int | None:
    """How many new tokens are asked for; None by transformers' default, which ends at the context."""
    settings = _settings(model, hf_arguments)
    if max_new_tokens is None and hf_arguments.get("max_length") is None:
        max_new_tokens = settings.max_new_tokens
    if max_new_tokens is not None:
        return max_new_tokens
    length = hf_arguments.get("max_length") or settings.max_length
    return None if length is None else length - n_columns


def _has_learned_positions(model: PreTrainedModel, context: int) -> bool:
    """Whether the model holds a table of positions, which some families begin two rows later."""
    tokens = model.get_input_embeddings()
    return any(
        isinstance(module, nn.Embedding)
        and module is not tokens
        and context <= module.num_embeddings <= context + 2
        for module in model.modules()
    )


def _padding_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    """The id that fills finished rows; an id below 0 counts as absent."""
    config: Any = model.generation_config
    end = None if config is None else config.eos_token_id
    candidates = (
        None if config is None else config.pad_token_id,
        None if tokenizer is None else tokenizer.pad_token_id,
        end[0] if isinstance(end, list) else end,
    )
    return next((one for one in candidates if isinstance(one, int) and one >= 0), None)

"""Tokens drawn one after another from a static step, inside Hugging Face's `generate`."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    DynamicCache,
    EosTokenCriteria,
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
)
from transformers.generation import logits_process

from lm_merge.generation.static.step import StaticStep
from lm_merge.generation.token_ids import TokensOnly

CHECK_EVERY = (
    8  # steps between two looks at whether every row has ended; a look waits for the device
)
_PURE_CRITERIA = (EosTokenCriteria, MaxLengthCriteria, StopStringCriteria)


@dataclass
class Draw:
    """How tokens are chosen and when rows end: what `generate` prepared, with Hugging Face's meaning."""

    processors: LogitsProcessorList
    criteria: StoppingCriteriaList
    do_sample: bool
    pad: Tensor | None
    streamer: Any = None

    @property
    def check_every(self) -> int:
        """Steps between two looks. 1 where code of the user's own sees every token as it comes."""
        own = [one for one in self.criteria if not isinstance(one, _PURE_CRITERIA)]
        own += [one for one in self.processors if not _is_known(one)]
        return 1 if own or self.streamer is not None else CHECK_EVERY

    def choose(
        self, text: Int[Tensor, "batch pos"], logits: Float[Tensor, "batch d_vocab"]
    ) -> Int[Tensor, " batch"]:
        """The next token of each row, as Hugging Face's `generate` draws it."""
        scores: Any = self.processors(text, logits.to(text.device, torch.float32, copy=True))  # pyright: ignore[reportArgumentType]
        if not self.do_sample:
            return scores.argmax(dim=-1)
        return torch.multinomial(scores.softmax(dim=-1), num_samples=1).squeeze(1)


@dataclass
class Text:
    """Rows of ids as they grow, and the column behind the token with which the last row ended."""

    ids: Int[Tensor, "batch n_columns"]
    n_filled: int
    unfinished: Int[Tensor, " batch"]
    end: Int[Tensor, ""]  # -1 while a row goes on
    random_states: list[tuple[int, Tensor]] = field(default_factory=list)  # after a column's draw

    @classmethod
    def of_prompt(cls, prompt: Int[Tensor, "batch pos"], n_columns: int) -> "Text":
        """Room for `n_columns` ids, of which the prompt fills the first."""
        ids = prompt.new_zeros(len(prompt), n_columns)
        ids[:, : prompt.shape[1]] = prompt
        unfinished = torch.ones(len(prompt), dtype=torch.long, device=prompt.device)
        return cls(ids, prompt.shape[1], unfinished, torch.full_like(unfinished[0], -1))

    @property
    def so_far(self) -> Int[Tensor, "batch pos"]:
        """All ids up to now."""
        return self.ids[:, : self.n_filled]

    def add(self, tokens: Int[Tensor, " batch"], draw: Draw) -> Int[Tensor, " batch"]:
        """Append a token a row, padding to rows that have ended; nothing is read off the device."""
        if draw.pad is not None and any(hasattr(one, "eos_token_id") for one in draw.criteria):
            tokens = tokens * self.unfinished + draw.pad.to(tokens) * (1 - self.unfinished)
        self.ids[:, self.n_filled] = tokens
        self.n_filled += 1
        ended: Any = draw.criteria(self.so_far, None)  # pyright: ignore[reportArgumentType]
        self.unfinished = self.unfinished & ~ended
        is_last = (self.unfinished.max() == 0) & (self.end < 0)
        self.end = torch.where(is_last, self.n_filled, self.end)
        return tokens

    def has_ended(self) -> bool:
        """Whether every row has; waits for the device."""
        return int(self.end) >= 0


def continued(
    model: Any,
    step: StaticStep | None,
    input_ids: Int[Tensor, "batch pos"],
    model_inputs: dict[str, Any],
    settings: GenerationConfig,
    draw: Draw,
) -> Int[Tensor, "batch n_columns"]:
    """Prompts with their continuations: the prompt by the model itself, each further token by the step.

    step: None where one new token is asked for.
    """
    assert settings.max_length is not None  # `generate` has set it
    inputs = model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **model_inputs)
    logits = model(**inputs, return_dict=True).logits[:, -1]
    text = Text.of_prompt(input_ids, settings.max_length)
    if step is None:
        _take(text, draw, logits)
        return text.so_far
    mask, positions = model_inputs.get("attention_mask"), model_inputs.get("position_ids")
    last = torch.full_like(input_ids[:, -1:], input_ids.shape[1] - 1)
    last = last if positions is None else positions[:, -1:].expand(len(input_ids), 1)
    filled: DynamicCache = model_inputs["past_key_values"]
    step.begin(filled, mask, last, input_ids.shape[1])
    filled.reset()  # the static cache has the keys and values now
    try:
        return _steps(text, step, draw, logits)
    finally:
        end = int(text.end)
        n_fed = (text.n_filled if end < 0 else end) - 1  # the last token is never fed
        step.system.end(step.cache, n_fed)


def _steps(text: Text, step: StaticStep, draw: Draw, logits: Tensor) -> Tensor:
    n_steps, check_every = 0, draw.check_every
    tokens = _take(text, draw, logits)
    while not (n_steps % check_every == 0 and text.has_ended()):
        if text.n_filled == text.ids.shape[1]:
            break
        tokens = _take(text, draw, step.advance(tokens))
        n_steps += 1
    n_columns = int(text.end) if text.has_ended() else text.n_filled
    _return_random_numbers(text, n_columns)
    return text.ids[:, :n_columns]


def _take(text: Text, draw: Draw, logits: Tensor) -> Tensor:
    tokens = text.add(draw.choose(text.so_far, logits), draw)
    if draw.streamer is not None:
        draw.streamer.put(tokens.cpu())
    if draw.do_sample and draw.check_every > 1:
        text.random_states = text.random_states[1 - CHECK_EVERY :]
        text.random_states.append((text.n_filled, _generator(tokens.device).get_state()))
    return tokens


def _return_random_numbers(text: Text, n_columns: int) -> None:
    """Leave torch's generator as it was when the last row ended: later draws are those of today."""
    later = dict(text.random_states)
    if n_columns < text.n_filled and n_columns in later:
        _generator(text.ids.device).set_state(later[n_columns])


def _generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    return torch.default_generator


def _is_known(processor: Any) -> bool:
    return (
        isinstance(processor, TokensOnly) or type(processor).__module__ == logits_process.__name__
    )

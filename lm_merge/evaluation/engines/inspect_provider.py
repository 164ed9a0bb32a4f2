"""Inspect AI's model of a merge, `--model lm_merge/<recipe>`. Imported by Inspect when first used."""

from collections.abc import Sequence
from typing import Any

from anyio import CapacityLimiter, get_cancelled_exc_class, to_thread
from inspect_ai._util.error import PrerequisiteError  # its kind without a traceback; not exported
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from lm_merge.errors import USER_ERRORS, one_line
from lm_merge.evaluation.engines.replying import Prompt, Reply, Sampling
from lm_merge.evaluation.engines.served_model import Request, shared_model
from lm_merge.evaluation.prompting import control_tokens, conversation_ids
from lm_merge.generation import require_tokenizer

BATCH_SIZE = 16
MAX_TOKENS = 2048  # of a reply, where neither Inspect nor the host's generation settings give one
UNSUPPORTED = (  # they would change the text or are asked for in the reply
    "best_of",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "num_choices",
    "presence_penalty",
    "response_schema",
    "top_logprobs",
)


class MergedModelAPI(ModelAPI):
    """A recipe, or a model by name, as a model of Inspect AI.

    model_name: what follows `lm_merge/`: a recipe's file (.yaml) or a model's name, as in
    `lm_merge.spaces.system`. Model arguments (`-M`): device, dtype, batch_size (default 16).

    Calls overlap and a hooked pair is not re-entrant, so one thread generates, in batches of calls with
    the same sampling settings. Calls that sample with a seed go alone: so a reply does not depend on
    what else was asked. temperature: the host's generation settings unless given; 0 is greedy.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 # as in Inspect's own providers
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int = BATCH_SIZE,
        **unknown: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if unknown:
            raise ValueError(
                f"model argument {', '.join(sorted(unknown))}: unknown to lm_merge; "
                "choose from device, dtype, batch_size"
            )
        try:
            self._served = shared_model(model_name, device, dtype, int(batch_size))
        except USER_ERRORS as error:  # which Inspect reports without a traceback
            raise PrerequisiteError(f"model lm_merge/{model_name}: {one_line(error)}") from error
        host = self._served.composed.host
        self._tokenizer: Any = require_tokenizer(host.tokenizer, host.name)

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 # Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """One reply; called by Inspect, many at a time."""
        _require_supported(tools, config)
        limit = config.max_tokens or self.max_tokens()
        prompt = Prompt(tuple(self.encode(input)), limit)
        found = await self._reply((prompt, _sampling(config)))
        n_prompt = len(prompt.ids)
        message = ChatMessageAssistant(content=found.text, model=self.model_name, source="generate")
        return ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason=found.stop_reason)],
            usage=ModelUsage(
                input_tokens=n_prompt,
                output_tokens=found.n_new_tokens,
                total_tokens=n_prompt + found.n_new_tokens,
            ),
        )

    def encode(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Token ids of a conversation in the host's chat template, up to the model's turn."""
        for message in messages:
            if not isinstance(message.content, str) and any(
                part.type not in ("text", "reasoning") for part in message.content
            ):
                raise ValueError(
                    "lm_merge generates from text only; the conversation contains other content"
                )
        turns = [{"role": message.role, "content": message.text} for message in messages]
        return conversation_ids(self._tokenizer, turns)

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as one token with a meaning of its own."""
        return control_tokens(self._tokenizer)

    def max_tokens(self) -> int:
        """Of a reply, unless the task gives a number: the host's own setting."""
        native = self._served.composed.host.native
        own = None if native is None else getattr(native.generation_config, "max_new_tokens", None)
        return own or MAX_TOKENS

    def max_connections(self) -> int:
        """Calls in flight by default: two batches, so that one waits while one is served."""
        return 2 * self._served.worker.batch_size

    def connection_key(self) -> str:
        """Every recipe has its own connections: each is a model of its own."""
        return self.model_name

    async def count_text_tokens(self, text: str) -> int:
        """Tokens of a text by the host's tokenizer."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of a text by the host's tokenizer."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def close(self) -> None:
        """End the thread that generates; a later call starts another."""
        self._served.worker.close()

    async def _reply(self, request: Request) -> Reply:
        coming = self._served.worker.submit(request)
        try:  # a limiter of its own: Inspect's threads stay free
            return await to_thread.run_sync(
                coming.result, abandon_on_cancel=True, limiter=CapacityLimiter(1)
            )
        except get_cancelled_exc_class():
            coming.cancel()
            raise


def _sampling(config: GenerateConfig) -> Sampling:
    greedy = config.temperature == 0
    return Sampling(
        temperature=config.temperature,
        top_p=None if greedy else config.top_p,
        top_k=None if greedy else config.top_k,
        stop=tuple(config.stop_seqs or ()),
        seed=None if greedy else config.seed,
    )


def _require_supported(tools: Sequence[ToolInfo], config: GenerateConfig) -> None:
    if tools:
        names = ", ".join(tool.name for tool in tools)
        raise ValueError(f"lm_merge calls no tools; the task offers {names}")
    asked = [name for name in UNSUPPORTED if getattr(config, name, None) not in (None, False, {})]
    if config.num_choices == 1:
        asked.remove("num_choices")
    if asked:
        raise ValueError(f"lm_merge does not support {', '.join(asked)}; leave it out")

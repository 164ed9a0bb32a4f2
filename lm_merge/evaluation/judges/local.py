"""A judge that runs here: a model, or any composition of models."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from lm_merge.evaluation.judges.conversation import Conversation, Reply
from lm_merge.evaluation.judges.prompt import JudgePrompt
from lm_merge.evaluation.judges.protocol import Game, GameJudgment
from lm_merge.evaluation.prompting import (
    context_length,
    control_tokens,
    conversation_ids,
    padded,
)
from lm_merge.generation import require_tokenizer
from lm_merge.spaces.composed import Composed


class LocalJudge:
    """Asks a composition in batches, greedily, in its host's chat template.

    batch_size: games at a time. max_new_tokens: length of a reply at most.
    too_long: what to do with a game whose prompt and reply do not fit into the context: "error"
    refuses before anything is judged, "no_verdict" counts it as one without verdict, and notes it in
    its judgment. drop_thoughts: see `Conversation`.
    """

    def __init__(
        self,
        model: Composed,
        *,
        prompt: JudgePrompt | None = None,
        batch_size: int = 8,
        max_new_tokens: int = 1024,
        too_long: Literal["error", "no_verdict"] = "error",
        drop_thoughts: bool = False,
    ) -> None:
        self.model = model
        self.prompt = prompt or JudgePrompt()
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.too_long, self.drop_thoughts = too_long, drop_thoughts
        self._tokenizer: Any = require_tokenizer(model.host.tokenizer, model.host.name)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the verdicts; the batch size and `too_long` do not."""
        return {
            "judge": "local",
            "judge_model": self.model.name,
            "max_new_tokens": self.max_new_tokens,
            "drop_thoughts": self.drop_thoughts,
            "template": self.prompt.name,
            "template_digest": self.prompt.digest,
        }

    def judge_games(self, games: Sequence[Game]) -> Iterator[tuple[int, GameJudgment]]:
        """Judgments batch by batch. See `Judge`."""
        if self.too_long == "error":
            self._require_room(games)
        for start in range(0, len(games), self.batch_size):
            batch = games[start : start + self.batch_size]
            yield from enumerate(self._judge_batch(batch), start=start)

    def encode(self, game: Game) -> list[int]:
        """Token ids of the prompt for a game."""
        messages = self.prompt.messages(game, control_tokens(self._tokenizer))
        return conversation_ids(self._tokenizer, messages)

    def _judge_batch(self, games: Sequence[Game]) -> list[GameJudgment]:
        control = control_tokens(self._tokenizer)
        talks = [
            Conversation(self.prompt.messages(game, control), self.drop_thoughts) for game in games
        ]
        waiting = talks
        while waiting:
            rows = [conversation_ids(self._tokenizer, talk.messages) for talk in waiting]
            fitting = [place for place, row in enumerate(rows) if self._fits(len(row))]
            replies = self._replies([rows[place] for place in fitting]) if fitting else []
            for place, reply in zip(fitting, replies, strict=True):
                waiting[place].read(reply)
            waiting = [waiting[place] for place in fitting if not waiting[place].finished]
        return [self._judged(talk) for talk in talks]

    def _judged(self, talk: Conversation) -> GameJudgment:
        about = {"judge_model": self.model.name, "template": self.prompt.name}
        if not talk.replies:
            about["not_asked"] = "prompt and reply do not fit into the model's context"
        return talk.judged(**about)

    def _replies(self, rows: list[list[int]]) -> list[Reply]:
        texts = self.model.generate(
            padded(self._tokenizer, rows, "texts"),
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
        )
        counts = [len(ids) for ids in self._tokenizer(texts)["input_ids"]]
        return [
            Reply(text, len(row), count)
            for text, row, count in zip(texts, rows, counts, strict=True)
        ]

    def _fits(self, n_tokens: int) -> bool:
        context = context_length(self.model.host)
        return context is None or n_tokens + self.max_new_tokens <= context

    def _require_room(self, games: Sequence[Game]) -> None:
        lengths = [len(self.encode(game)) for game in games]
        too_long = [length for length in lengths if not self._fits(length)]
        if too_long:
            raise ValueError(
                f"{len(too_long)} of {len(games)} games do not fit into the context of "
                f"{context_length(self.model.host)} tokens: the longest prompt has {max(too_long)}, "
                f"a reply up to max_new_tokens={self.max_new_tokens}; lower max_new_tokens, use a "
                "shorter template, or set too_long to 'no_verdict', which counts them as without verdict"
            )

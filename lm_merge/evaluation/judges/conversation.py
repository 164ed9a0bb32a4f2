"""One game as a conversation: ask, read the verdict, ask once to go on where there is none."""

from dataclasses import dataclass, field
from typing import Any

from lm_merge.evaluation.judges.escape import escaped
from lm_merge.evaluation.judges.prompt import GO_ON, Message
from lm_merge.evaluation.judges.protocol import GameJudgment
from lm_merge.evaluation.judges.verdict import Verdict, read_verdict
from lm_merge.zoo.thoughts import after_thoughts

MAX_REPLIES = 2


@dataclass(frozen=True)
class Reply:
    """A model's reply; token counts are None where they are unknown."""

    text: str
    n_prompt_tokens: int | None = None
    n_completion_tokens: int | None = None
    from_cache: bool = False


@dataclass
class Conversation:
    """The messages so far and the replies to them.

    Verdicts are read from the replies alone, never from what the judge was asked.
    drop_thoughts: read only what comes after `</think>`, for a model that thinks aloud; as the
    official protocol reads everything, this is a departure from it.
    """

    messages: list[Message]
    drop_thoughts: bool = False
    replies: list[Reply] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All replies, in order."""
        return "\n".join(reply.text for reply in self.replies)

    @property
    def verdict(self) -> Verdict:
        return read_verdict(after_thoughts(self.text) if self.drop_thoughts else self.text)

    @property
    def finished(self) -> bool:
        """Whether there is a label, or a second reply."""
        return len(self.replies) >= MAX_REPLIES or (
            bool(self.replies) and not self.verdict.unfinished
        )

    def read(self, reply: Reply) -> None:
        """Add a reply; the judge is asked to go on where it holds no label."""
        self.replies.append(reply)
        if not self.finished:
            answered = {"role": "assistant", "content": escaped(reply.text)}
            self.messages = [*self.messages, answered, {"role": "user", "content": GO_ON}]

    def judged(self, **about_the_judge: Any) -> GameJudgment:
        """The outcome in the form of the official files, with the tokens that it took."""
        asked = [message["content"] for message in self.messages if message["role"] == "user"]
        return GameJudgment(
            self.verdict.decision,
            {
                **about_the_judge,
                "prompt": asked[0],
                "response": self.text,
                "n_replies": len(self.replies),
                "n_from_cache": sum(reply.from_cache for reply in self.replies),
                "n_prompt_tokens": _total(reply.n_prompt_tokens for reply in self.replies),
                "n_completion_tokens": _total(reply.n_completion_tokens for reply in self.replies),
            },
        )


def _total(counts: Any) -> int | None:
    known = list(counts)
    return None if None in known else sum(known)

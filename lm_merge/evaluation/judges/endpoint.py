"""A judge behind an OpenAI-compatible endpoint."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Lock
from typing import Any

from lm_merge.evaluation.judges.chat_client import ChatClient, read_key
from lm_merge.evaluation.judges.conversation import Conversation, Reply
from lm_merge.evaluation.judges.endpoint_settings import EndpointSettings
from lm_merge.evaluation.judges.prompt import JudgePrompt, Message
from lm_merge.evaluation.judges.protocol import Game, GameJudgment
from lm_merge.evaluation.judges.reply_cache import ReplyCache, request_digest


class EndpointJudge:
    """Asks a model at an endpoint, several games at a time; replies are kept in a cache on disk.

    A reply that came is in the cache before its game is yielded, so that a run which is killed pays
    again at most for the calls that were in flight. The key comes from the environment alone and
    appears in no record, cache or message. Raises EndpointError where the endpoint refuses or stays
    silent; what was yielded before stays.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        *,
        cache: Path,
        prompt: JudgePrompt | None = None,
        drop_thoughts: bool = False,
    ) -> None:
        read_key(settings.api_key_env)  # a missing one is found before anything else
        self.endpoint = settings
        self.prompt = prompt or JudgePrompt()
        self.drop_thoughts = drop_thoughts
        self._cache_file = cache

    @property
    def name(self) -> str:
        return self.endpoint.model

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the verdicts; patience and concurrency do not."""
        return {
            "judge": "endpoint",
            "judge_model": self.endpoint.model,
            "base_url": self.endpoint.base_url,
            "temperature": self.endpoint.temperature,
            "max_tokens": self.endpoint.max_tokens,
            "drop_thoughts": self.drop_thoughts,
            "template": self.prompt.name,
            "template_digest": self.prompt.digest,
        }

    def judge_games(self, games: Sequence[Game]) -> Iterator[tuple[int, GameJudgment]]:
        """Judgments as replies come in. See `Judge`."""
        client, cache = ChatClient(self.endpoint), ReplyCache(self._cache_file)
        line = _Line(client, cache)
        pool = ThreadPoolExecutor(self.endpoint.concurrency, thread_name_prefix="judge")
        try:
            futures = {
                pool.submit(self._judge, line, game): index for index, game in enumerate(games)
            }
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # replies that are on their way are waited for, since they are paid for
            pool.shutdown(wait=False, cancel_futures=True)
            client.give_up_waiting()
            pool.shutdown(wait=True)
            client.close()
            cache.close()

    def _judge(self, line: "_Line", game: Game) -> GameJudgment:
        talk = Conversation(self.prompt.messages(game), self.drop_thoughts)
        while not talk.finished:
            talk.read(line.ask(talk.messages))
        return talk.judged(judge_model=self.endpoint.model, template=self.prompt.name)


class _Line:
    """A client behind a cache; of two equal requests at a time, one is sent."""

    def __init__(self, client: ChatClient, cache: ReplyCache) -> None:
        self._client, self._cache = client, cache
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._locks_lock = Lock()

    def ask(self, messages: list[Message]) -> Reply:
        settings = self._client.settings
        request = request_digest(
            base_url=settings.base_url, messages=messages, **self._client.parameters()
        )
        with self._locks_lock:
            lock = self._locks[request]
        with lock:
            known = self._cache.get(request)
            if known is not None:
                return known
            reply = self._client.complete(messages)
            self._cache.put(request, reply)
            return reply

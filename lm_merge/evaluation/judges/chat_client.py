"""Calls to an OpenAI-compatible chat endpoint that survive a bad day of the endpoint."""

import os
import random
import time
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import Any

from pydantic import BaseModel, ValidationError

from lm_merge.evaluation.judges.conversation import Reply
from lm_merge.evaluation.judges.endpoint_settings import EndpointSettings
from lm_merge.evaluation.judges.prompt import Message

_TRANSIENT = (408, 409, 425, 429)  # and all from 500 on


class EndpointError(OSError):
    """The endpoint refused, or did not answer in any of the tries. Holds no key."""


class _Transient(Exception):
    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class _Said(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Said


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Body(BaseModel):
    """The part of a reply's JSON that counts; whatever lacks it is garbage."""

    choices: tuple[_Choice, ...]
    usage: _Usage | None = None


class ChatClient:
    """Sends conversations and returns replies, from any number of threads.

    Tries again after 408, 409, 425, 429, 5xx, time-outs, broken connections and bodies that are no
    chat completion: after `Retry-After` where the endpoint sends it, else after a wait that doubles
    (and varies, so that calls do not come back all at once). Everything else stops at once.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        try:
            from openai import OpenAI
        except ImportError:
            raise ImportError(
                "an endpoint as judge needs the package openai: pip install 'lm-merge[judge]'"
            ) from None
        self.settings = settings
        self._key = read_key(settings.api_key_env)
        self._client = OpenAI(
            api_key=self._key or "none",
            base_url=settings.base_url,
            timeout=settings.timeout_s,
            max_retries=0,  # tries are counted here, where bodies are checked too
        )
        self._stopped = Event()
        self._pace = Lock()
        self._next_start = 0.0

    def give_up_waiting(self) -> None:
        """Calls that wait for their next try give up; those in flight go on."""
        self._stopped.set()

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def parameters(self) -> dict[str, Any]:
        """What a reply depends on besides the messages."""
        given = self.settings
        limit = {given.max_tokens_name: given.max_tokens}
        heat = {} if given.temperature is None else {"temperature": given.temperature}
        return {"model": given.model, **limit, **heat}

    def complete(self, messages: list[Message]) -> Reply:
        """The endpoint's reply. Raises EndpointError."""
        given, last = self.settings, ""
        for attempt in range(given.attempts):
            self._wait_for_turn()
            try:
                return self._call(messages)
            except _Transient as trouble:
                last = str(trouble)
                wait = given.first_wait_s * 2**attempt * random.uniform(0.5, 1.0)
                wait = min(wait, given.longest_wait_s) if trouble.wait_s is None else trouble.wait_s
            if wait > given.longest_wait_s:
                raise EndpointError(
                    f"{self._place}: asks to wait {wait:.0f} s, more than longest_wait_s="
                    f"{given.longest_wait_s:g}; run again later, what was judged is kept"
                )
            if attempt + 1 < given.attempts:
                self._stopped.wait(wait)
        raise EndpointError(
            f"{self._place}: no reply in {given.attempts} tries, the last one: {last}; "
            "run again to go on, what was judged is kept"
        )

    def _call(self, messages: list[Message]) -> Reply:
        import openai

        try:
            create: Any = self._client.chat.completions.with_raw_response.create
            raw = create(messages=messages, **self.parameters())
            body = _Body.model_validate_json(raw.http_response.content)
        except openai.APIStatusError as error:
            raise self._trouble(error) from None
        except openai.APITimeoutError:
            raise _Transient(f"no answer within {self.settings.timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            raise _Transient(self._clean(f"connection: {error.__cause__ or error}")) from None
        except ValidationError:
            raise _Transient("the body is no chat completion") from None
        if not body.choices:
            raise _Transient("the body is a chat completion without choices")
        usage = body.usage or _Usage()
        text = body.choices[0].message.content or ""
        return Reply(text, usage.prompt_tokens, usage.completion_tokens)

    def _trouble(self, error: Any) -> Exception:
        status = error.status_code
        reason = self._clean(f"HTTP {status}: {error.message}")[:300]
        out_of_money = getattr(error, "code", None) == "insufficient_quota"
        if (status in _TRANSIENT or status >= 500) and not out_of_money:
            return _Transient(reason, retry_after_s(error.response.headers.get("retry-after")))
        return EndpointError(f"{self._place}: {reason}")

    def _wait_for_turn(self) -> None:
        per_minute = self.settings.requests_per_minute
        if per_minute is not None:
            with self._pace:
                start = max(self._next_start, time.monotonic())
                self._next_start = start + 60 / per_minute
            self._stopped.wait(max(0.0, start - time.monotonic()))
        if self._stopped.is_set():
            raise EndpointError(f"{self._place}: stopped before the call was made")

    @property
    def _place(self) -> str:
        return f"model {self.settings.model!r} at {self.settings.base_url or 'OpenAI'}"

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def read_key(variable: str | None) -> str | None:
    """The key that an environment variable holds; None for no variable. ValueError if it is not set."""
    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key:
        raise ValueError(
            f"api_key_env={variable!r} is not set in the environment; set it, or give null for an "
            "endpoint that asks for no key"
        )
    return key


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None where it gives neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None

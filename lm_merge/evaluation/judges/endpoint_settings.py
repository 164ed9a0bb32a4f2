"""Where an endpoint is, how it is asked, and how patient the client is."""

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, field_validator


class EndpointSettings(BaseModel):
    """An OpenAI-compatible chat endpoint. The key itself is never a setting."""

    # a wrong value may be a key in the wrong place: errors do not repeat it
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = Field(description="name of the model at the endpoint")
    base_url: str | None = Field(
        default=None, description="for example http://localhost:8000/v1; None: OpenAI's"
    )
    api_key_env: str | None = Field(
        default="OPENAI_API_KEY",
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
        description="environment variable that holds the key; None for an endpoint without keys",
    )
    temperature: float | None = Field(
        default=0.0, ge=0, description="None leaves it out, for models that take none"
    )
    max_tokens: PositiveInt = Field(default=4096, description="tokens of a reply at most")
    max_tokens_name: str = Field(
        default="max_tokens",
        pattern="^(max_tokens|max_completion_tokens)$",
        description="what the endpoint calls that limit: max_tokens or max_completion_tokens",
    )
    concurrency: PositiveInt = Field(default=8, description="calls in flight at a time")
    requests_per_minute: PositiveFloat | None = Field(
        default=None, description="no more calls than this; None: as fast as they come back"
    )
    timeout_s: PositiveFloat = Field(default=300.0, description="seconds to wait for a reply")
    attempts: PositiveInt = Field(default=8, description="tries of a call before the run stops")
    first_wait_s: PositiveFloat = Field(
        default=1.0, description="seconds before the second try; each further wait is twice as long"
    )
    longest_wait_s: PositiveFloat = Field(
        default=120.0,
        description="seconds between tries at most; longer ones asked for stop the run",
    )

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, base_url: str | None) -> str | None:
        if base_url is None:
            return None
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give an address such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "the address holds a user, a password or a query; it would go into records: "
                "pass a key in the variable that api_key_env names"
            )
        return base_url

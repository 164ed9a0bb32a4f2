"""JudgeBench's pairs and judgments, as in its official files."""

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lm_merge.evaluation.judges import Decision, Game

Category = Literal["Knowledge", "Reasoning", "Math", "Coding"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
_CATEGORY_OF: dict[str, Category] = {
    "livebench-reasoning": "Reasoning",
    "livebench-math": "Math",
    "livecodebench": "Coding",
}


def category_of(source: str) -> Category:
    """Category of a pair by its source: `mmlu-pro-*` is Knowledge."""
    if source.startswith("mmlu-pro-"):
        return "Knowledge"
    if source not in _CATEGORY_OF:
        known = ", ".join(("mmlu-pro-*", *_CATEGORY_OF))
        raise ValueError(f"source={source!r} belongs to no category; choose from {known}")
    return _CATEGORY_OF[source]


class Pair(BaseModel):
    """A question with a right and a wrong response; `label` marks which is which."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # output files hold more than this

    pair_id: str = Field(min_length=1)
    original_id: int | str | None = Field(
        default=None, description="id in the source, if it had one"
    )
    source: str = Field(description="data set that the question is from")
    question: str
    response_model: str = Field(description="model that wrote both responses")
    response_A: str
    response_B: str
    label: Literal["A>B", "B>A"] = Field(description="the right response comes first")

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        category_of(source)
        return source

    @property
    def category(self) -> Category:
        return category_of(self.source)

    @property
    def right_response(self) -> str:
        return self.response_A if self.label == "A>B" else self.response_B

    def game(self) -> Game:
        """The pair as a judge sees it first; game 2 has the responses swapped."""
        return Game(self.question, self.response_A, self.response_B)


class Judgment(BaseModel):
    """One game as judged: the raw output of the judge, and the decision read from it.

    A decision in other words than A>B, B>A and A=B (an official file may hold a bare "A") counts as
    no verdict, as it does in the official accuracy.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    judgment: dict[str, Any] | str | None = None
    decision: Decision | None = None

    @field_validator("decision", mode="before")
    @classmethod
    def _known_decision(cls, decision: Any) -> Any:
        return decision if decision in get_args(Decision) else None


class JudgedPair(Pair):
    """A pair with two games; in the second the responses were swapped.

    A game that failed is null in official files: it has no verdict.
    """

    judge_name: str
    judgments: tuple[Judgment, Judgment]

    @field_validator("judgments", mode="before")
    @classmethod
    def _missing_games(cls, games: Any) -> Any:
        if isinstance(games, list | tuple):
            return [{} if game is None else game for game in games]
        return games

"""Options of `analyses.adaptation`."""

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    computed_field,
    field_validator,
    model_validator,
)

from analyses.adaptation.conditions import CONDITIONS
from analyses.comparison.systems import (
    System,
    is_recipe_file,
    named_systems,
    read_mappings,
    sources_of,
)
from analyses.running.measured import Placement
from lm_merge.recipes import ModelSource, Recipe

KNOWN_TRUTH = {name: name for name in ("tiny-newest", "tiny-oldest", "tiny-binder")}
SOURCES = ("bindings", "mawps", "fairytaleqa")
DEFAULT_CONDITIONS = ("injection", "baseline", "repetition", "noise", "flush", "legacy")


class AdaptationConfig(Placement):
    """Which systems write which texts, what is injected and when, and when a text counts as adapted."""

    systems: dict[str, str | ModelSource | Recipe | dict[str, Any]] = Field(
        default=dict(KNOWN_TRUTH), min_length=1, description="name -> model, recipe file or recipe"
    )
    items: str = Field(
        default="bindings",
        description="bindings; mawps:FILE or fairytaleqa:FILE, the published files; or a JSONL of pairs "
        "(id, kind, context, alt_context, answer, alt_answer)",
    )
    kinds: tuple[str, ...] = Field(
        default=(), description="kinds of variations, of mawps; none: four in equal parts"
    )
    n_items: PositiveInt = Field(default=30, description="items, each at every tau")
    taus: tuple[NonNegativeInt, ...] = Field(
        default=(8,), min_length=1, description="tokens emitted before the injection"
    )
    conditions: tuple[str, ...] = Field(
        default=DEFAULT_CONDITIONS, min_length=1, description=", ".join(CONDITIONS)
    )
    contrasts: tuple[tuple[str, str], ...] = Field(
        default=(("injection", "flush"), ("injection", "noise"), ("injection", "repetition")),
        description="conditions compared item by item, with Holm's correction over all of them; those "
        "of conditions that are not run are left out",
    )
    horizon: PositiveInt = Field(default=24, description="tokens looked at after the injection")
    window: PositiveInt = Field(default=2, description="diagnostic tokens that a rule holds for")
    theta_nats: float = Field(default=0.0, description="log ratio above which a token favours c1")
    delta_nats: float = Field(
        default=0.02,
        gt=0,
        description="divergence of the contexts above which a token tells them apart",
    )
    close_nats: float = Field(
        default=0.05, gt=0, description="divergence from c1 below which a token has converged"
    )
    level: float = Field(default=0.05, gt=0, lt=0.5, description="of tests and detection")
    margin_gap: float = Field(
        default=0.1, gt=0, description="gaps this near to the oracle's are equivalent"
    )
    refeed: NonNegativeInt = Field(
        default=1, description="emitted tokens that are computed anew after the injection"
    )
    partial_refeed: NonNegativeInt = Field(default=4, description="the same, of condition partial")
    noise: Literal["shuffled", "filler", "neutral"] | None = Field(
        default=None,
        description="what condition noise injects: c1's tokens in a drawn order, as many of one token, "
        "or the pair's own neutral context; None: neutral where the pair has one, as bindings do "
        "(a shuffled binding still binds, and its filler is a value of the language), else shuffled",
    )
    keep_sink: PositiveInt = Field(
        default=1, description="first tokens that stay when c0 is dropped"
    )
    prompt_template: str | None = Field(
        default=None, description="around c0: a text with {context}; None: what suits the items"
    )
    injection_template: str | None = Field(default=None, description="around what is injected")
    chat: bool = Field(default=False, description="put the prompt into the host's chat template")
    temperature: float = Field(default=0.0, ge=0, description="0: greedy; above: sampling")
    seed: int = Field(default=0, description="of items, noise and sampling")
    states: bool = Field(
        default=True, description="project the residual stream of every block, too"
    )
    attention: bool = Field(
        default=False,
        description="share of attention on c0, c1 and the text, by block of the model",
    )
    batch_size: PositiveInt = Field(default=10, description="items at a time")

    @field_validator("systems", mode="before")
    @classmethod
    def _read_mappings(cls, systems: object) -> object:
        """Mappings as the model sources or recipes that they are; the command line leaves them alone."""
        return read_mappings(systems)

    @model_validator(mode="after")
    def _fits_together(self) -> "AdaptationConfig":
        unknown = sorted(set(self.conditions) - set(CONDITIONS))
        if unknown:
            raise ValueError(
                f"conditions={unknown} are unknown; choose from {', '.join(CONDITIONS)}"
            )
        low = [tau for tau in self.taus if tau < self.refeed]
        if low:
            raise ValueError(
                f"taus={low} lie below refeed={self.refeed}: so many tokens must have been emitted; "
                "raise taus or lower refeed"
            )
        source, _, file = self.items.partition(":")
        if source in SOURCES[1:] and not file:
            raise ValueError(f"items={self.items!r} names no file; give {source}:FILE")
        if source not in SOURCES and not self.items.endswith(".jsonl"):
            raise ValueError(
                f"items={self.items!r}: give bindings, mawps:FILE, fairytaleqa:FILE or a file .jsonl"
            )
        for name in ("prompt_template", "injection_template"):
            template = getattr(self, name)
            if template is not None and "{context}" not in template:
                raise ValueError(f"{name}={template!r} has no {{context}} in it")
        return self

    def __hash__(self) -> int:  # systems are a dict, which has no hash of its own
        return hash(self.model_dump_json(exclude={"inputs"}))

    @property
    def items_file(self) -> Path | None:
        """The file that items are read from."""
        if self.items == "bindings":
            return None
        return Path(self.items.partition(":")[2] or self.items)

    def named_systems(self) -> dict[str, System]:
        """Every system by its name."""
        return named_systems(self.systems)

    @property
    def words(self) -> str:
        taus = ", ".join(map(str, self.taus))
        return (
            f"{', '.join(self.systems)}; {self.n_items} items of {self.items}, {self.horizon} tokens "
            f"after an injection at token {taus}: {', '.join(self.conditions)}"
        )

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of the files that are read, so that a run is found again only for the same."""
        from analyses.running.inputs import fingerprints_of  # needs torch, which the options do not

        recipes = [Path(one) for one in self.systems.values() if is_recipe_file(one)]
        return fingerprints_of(sources_of(self.named_systems()), self.items_file, *recipes)

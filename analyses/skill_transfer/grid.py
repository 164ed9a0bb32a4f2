"""The merges of a grid, measured one after the other; what is measured of each is a run of its own."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from analyses.running.command_line import finished_tables
from analyses.running.text_choice import lines_of, questions_in_turn
from analyses.skill_transfer.config import SkillTransferConfig
from analyses.skill_transfer.cost import HostReplies, with_reply
from analyses.skill_transfer.skill import Answered, answered, inputs_of, questions_of, replies_of
from lm_merge.evaluation.marking import KeyedQuestion
from lm_merge.models import HookedLM
from lm_merge.recipes import ModelSource, Recipe
from lm_merge.runs.record import start_run
from lm_merge.spaces import Composed
from lm_merge.spaces.compose import compose
from lm_merge.spaces.source_loader import SourceLoader

ItemT = TypeVar("ItemT")
DIVERGENCES = "skill_transfer_divergences"  # name of their runs


class DivergenceConfig(BaseModel):
    """What decides the divergences of a merge, or of the donor, along the host's replies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: ModelSource | Recipe
    inputs: dict[str, str | None] = Field(description="fingerprints of the models")
    pairs: tuple[tuple[str, str], ...] = Field(description="prompts with the host's replies")
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class Measuring:
    """What all merges of a grid share. Models are loaded when something is missing, and once.

    root: folder of the run records; None writes nothing down. since: only runs that started at or
    after it are taken over; None: any.
    """

    config: SkillTransferConfig
    root: Path | None = None
    since: datetime | None = None
    quiet: bool = True

    @cached_property
    def questions(self) -> list[KeyedQuestion]:
        """The questions of the skill."""
        return questions_of(self.config)

    @cached_property
    def parents(self) -> dict[str, HookedLM]:
        """Host and donor; a donor that is the host with an adapter runs over the host's weights."""
        load = SourceLoader(self.config.device, self.config.dtype)
        return {"host": load(self.config.host), "donor": load(self.config.donor)}

    @cached_property
    def host_replies(self) -> HostReplies:
        """The host's replies to the prompts."""
        config = self.config
        if config.prompts is not None:
            prompts = lines_of(config.prompts, "prompts")[: config.n_prompts]
        else:
            drawn = questions_in_turn(config.n_prompts, config.seed + 1)
            prompts = [question.prompt for question in drawn]
        table = replies_of(
            config,
            config.host,
            prompts,
            lambda: self.parents["host"],
            root=self.root,
            since=self.since,
            what="host, replies to prompts",
            max_new_tokens=config.reply_tokens,
            quiet=self.quiet,
        )
        pairs = with_reply(prompts, table.reply.tolist())
        return HostReplies(lambda: self.parents, pairs)

    def answered(self, name: str, system: ModelSource | Recipe) -> Answered:
        """What a model or a merge scores on the questions."""
        table = replies_of(
            self.config,
            system,
            [question.prompt for question in self.questions],
            partial(self._system, name, system),
            root=self.root,
            since=self.since,
            what=f"{name}, answers",
            max_new_tokens=self.config.max_new_tokens,
            quiet=self.quiet,
        )
        return answered(name, table, self.questions)

    def divergences(self, name: str, system: ModelSource | Recipe) -> pd.DataFrame:
        """`HostReplies.divergences` of a merge, or of the donor."""
        config, replies = self.config, self.host_replies
        cell = DivergenceConfig(
            system=system,
            inputs=inputs_of(system),
            pairs=replies.pairs,
            device=config.device,
            dtype=config.dtype,
        )
        if self.root is None:
            return replies.divergences(self._system(name, system))
        found = finished_tables(self.root, DIVERGENCES, cell, since=self.since)
        if found is not None:
            return found[1]["divergences"]
        with start_run(DIVERGENCES, cell, root=self.root) as record:
            table = replies.divergences(self._system(name, system))
            record.update(models=cell.inputs)
            record.save_table("divergences", table)
        return table

    def _system(self, name: str, system: ModelSource | Recipe) -> Composed:
        if isinstance(system, ModelSource):
            return self.parents[name]
        config, loaded = self.config, tuple(self.parents.values())
        return compose(system, device=config.device, dtype=config.dtype, loaded=loaded)


def with_estimate(items: Iterable[ItemT], n: int, *, quiet: bool) -> Iterator[ItemT]:
    """The items; after each a line on standard error: how many are done, how long the rest takes."""
    start = time.monotonic()
    for place, item in enumerate(items, start=1):
        yield item
        minutes = (time.monotonic() - start) / place * (n - place) / 60
        if not quiet:
            sys.stderr.write(f"{place} of {n} merges; about {minutes:.1f} minutes left\n")

"""Do merged answers beat others? Systems on the same questions: `python -m analyses.comparison`.

Both parents, merges of latents, of weights and of logits answer questions whose answers can be
checked. Tables: accuracy by system and category; win rates of each latent merge against the merge of
weights that belongs to it, in both orders where a judge reads them; strengths of all systems
(Bradley-Terry). Experiment A of the latent-merging paper (OpenReview ocEoHCrezd), with the answer key
as its judge unless another one is given.

Seeds. Greedy decoding: a seed draws the questions. With a temperature it seeds the sampling too. A
question that comes up under several seeds counts as one cluster in every interval.
"""

import hashlib
import json
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pandas as pd
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    computed_field,
    model_validator,
)

from analyses.answers import AnswersConfig, answers_of
from analyses.command_line import (
    Figure,
    OutputOptions,
    Tables,
    config_in,
    one_line_errors,
    parse_config,
    run_and_draw,
)
from analyses.comparison_estimate import EstimateOptions, estimate
from analyses.comparison_judging import Judging, judging_of
from analyses.comparison_systems import (
    System,
    default_systems,
    load_system,
    opposed,
    sources_of,
)
from analyses.judge_config import JudgeConfig
from figures import plot_accuracy_forest, plot_win_rates
from lm_merge.evaluation import judgebench
from lm_merge.evaluation.comparison import (
    OVERALL,
    accuracy_by_system,
    judged_by_key,
    paired_answers,
    strengths,
    win_rates,
)
from lm_merge.evaluation.marking import (
    KeyedQuestion,
    Marker,
    bundled_questions,
    judgebench_questions,
)
from lm_merge.models.loading import resolve
from lm_merge.recipe import ModelSource, Recipe, Source, Tolerance, as_source
from lm_merge.records import Run, fingerprint
from lm_merge.zoo.tasks import CATEGORIES

Operator = Literal["lerp", "slerp", "regmean"]


class ComparisonConfig(BaseModel):
    """Which systems answer which questions, and who says what is better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Source = Field(default="tiny-instruct", description="carries the forward pass")
    donors: tuple[Source, ...] = Field(
        default=("tiny-thinker",), min_length=1, description="are merged into it"
    )
    layers: tuple[int, ...] = Field(
        default=(3,), min_length=1, description="latent merges: blocks whose resid_post is merged"
    )
    alpha: float = Field(default=0.5, description="donors' weight in every merge, 0 to 1")
    operators: tuple[Operator, ...] = Field(
        default=("lerp", "slerp", "regmean"),
        min_length=1,
        description="of the latent merges; each is set against its counterpart on weights",
    )
    accept: tuple[Tolerance, ...] = Field(
        default=(), description="differences between the models that are accepted"
    )
    systems: dict[str, str | ModelSource | Recipe] = Field(
        default={},
        description="name -> model, recipe file or recipe, in place of the default systems",
    )
    pairs: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="systems to set against each other; none: each latent merge and its counterpart",
    )
    questions: str | None = Field(
        default=None, description="JudgeBench file, folder or hub name; None: the bundled questions"
    )
    split: Literal["gpt", "claude"] | None = Field(
        default=None, description="JudgeBench: only the pairs that this model's responses are from"
    )
    n_per_category: PositiveInt = Field(
        default=200, description="questions a category and seed, at most"
    )
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="see above")
    temperature: NonNegativeFloat = Field(default=0.0, description="0: greedy; above: sampling")
    max_new_tokens: PositiveInt = Field(
        default=40, description="tokens of an answer at most; the longest bundled one takes 31"
    )
    batch_size: PositiveInt = Field(default=100, description="prompts at a time")
    judge: JudgeConfig | None = Field(
        default=None,
        description="who judges pairs of answers, and on which labelled pairs its own accuracy is "
        "measured; None: the answer key",
    )
    run_code: bool = Field(
        default=False,
        description="run models' programs, in a sandbox, against the public examples of a question",
    )
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")

    @model_validator(mode="after")
    def _known_pairs(self) -> "ComparisonConfig":
        known = set(self.named_systems())
        unknown = sorted({name for pair in self.pairs for name in pair} - known)
        if unknown:
            raise ValueError(f"pairs name unknown systems {unknown}; choose from {sorted(known)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds} holds a seed twice")
        return self

    def named_systems(self) -> dict[str, System]:
        """Every system by its name, parents first."""
        if not self.systems:
            return default_systems(
                self.host,
                self.donors,
                layers=self.layers,
                alpha=self.alpha,
                operators=self.operators,
                accept=self.accept,
            )
        return {name: _system(source) for name, source in self.systems.items()}

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of the files that go in, so that a run is found again only for the same."""
        found = _fingerprints(sources_of(self.named_systems()))
        if self.questions is not None:
            found[self.questions] = fingerprint(Path(self.questions))
        return found


def _system(source: str | ModelSource | Recipe) -> System:
    if isinstance(source, str):
        is_recipe = Path(source).suffix in (".yaml", ".yml")
        return Recipe.load(source) if is_recipe else as_source(source)
    return source


def _fingerprints(sources: Iterable[Source]) -> dict[str, str | None]:
    paths = [Path(resolve(as_source(source).model)) for source in sources]
    return {str(path): fingerprint(path) for path in paths}


def questions_by_seed(config: ComparisonConfig) -> dict[int, list[KeyedQuestion]]:
    """The questions of every seed.

    Raises ValueError where greedy decoding would give every seed the same answers.
    """
    if config.questions is None:
        return {seed: bundled_questions(config.n_per_category, seed=seed) for seed in config.seeds}
    everything = judgebench_questions(judgebench.load_pairs(config.questions, config.split))
    drawn = {}
    for seed in config.seeds:
        rng = random.Random(seed)
        drawn[seed] = []
        for category in CATEGORIES:
            of_category = [one for one in everything if one.category == category]
            n = min(config.n_per_category, len(of_category))
            drawn[seed] += sorted(rng.sample(of_category, n), key=everything.index)
    if config.temperature == 0 and len(config.seeds) > 1:
        first, *others = drawn.values()
        if all(other == first for other in others):
            raise ValueError(
                f"seeds={config.seeds}: each draws all {len(first)} questions and decoding is greedy, "
                "so they would say the same; give one seed, a temperature, or a lower n_per_category"
            )
    return drawn


def run(config: ComparisonConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "answers", "accuracy", "win_rates", "strengths", and "judgments" of a judge.

    With a record, the answers of every system and seed become runs of their own beside it.
    """
    questions, systems = questions_by_seed(config), config.named_systems()
    if record is not None:
        record.update(
            models=_fingerprints(sources_of(systems)), seeds=config.seeds, notes=_notes(config, 0)
        )
    answers = all_answers(
        config, questions, None if record is None else record.folder.parent, quiet
    )
    with Marker(run_code=config.run_code) as marker:
        answers = mark(answers, questions, marker)
        if record is not None:
            undecided = len(marker.checker.undecided)
            record.update(notes=_notes(config, undecided))
    if config.judge is None:
        return tables_of(answers, config)
    with runs_folder(record) as runs:
        return tables_of(answers, config, judging_of(config.judge, runs, quiet=quiet))


@contextmanager
def runs_folder(record: Run | None) -> Iterator[Path]:
    """Folder of the run records; one that goes again where nothing is recorded."""
    if record is not None:
        yield record.folder.parent
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def tables_of(
    answers: pd.DataFrame, config: ComparisonConfig, judging: Judging | None = None
) -> Tables:
    """The tables of `run` from marked answers; without a judge the answer key is one."""
    systems = config.named_systems()
    pairs = config.pairs or opposed(systems)
    tables = {"answers": answers, "accuracy": _described(accuracy_by_system(answers), systems)}
    if judging is None:
        rates = win_rates(judged_by_key(answers, pairs))
    else:
        both = pd.concat([paired_answers(answers, *pair) for pair in pairs], ignore_index=True)
        judged = judging.judge_answers(both)
        rates = win_rates(judged, judge=judging.name, judge_accuracy_pct=judging.accuracy_pct)
        tables["judgments"] = judged
    tables["win_rates"] = _described(rates, systems)
    if len(systems) > 2:
        everyone = judged_by_key(answers, tuple(combinations(systems, 2)))
        tables["strengths"] = _described(strengths(everyone), systems)
    return tables


def all_answers(
    config: ComparisonConfig,
    questions: dict[int, list[KeyedQuestion]],
    root: Path | None,
    quiet: bool,
) -> pd.DataFrame:
    """One row a system, seed and question; a system is loaded once, and only if it has yet to speak."""
    found = []
    for name, source in config.named_systems().items():
        loaded = []

        def ready(source: System = source, loaded: list = loaded):
            if not loaded:
                loaded.append(load_system(source, device=config.device, dtype=config.dtype))
            return loaded[0]

        for seed, of_seed in questions.items():
            prompts = [question.prompt for question in of_seed]
            cell = AnswersConfig(
                system=source,
                inputs=_fingerprints(sources_of({name: source})),
                prompts_digest=hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
                n_prompts=len(prompts),
                seed=seed if config.temperature else None,
                temperature=config.temperature,
                max_new_tokens=config.max_new_tokens,
                batch_size=config.batch_size,
                device=config.device,
                dtype=config.dtype,
            )
            table = answers_of(
                cell, prompts, ready, root=root, what=f"{name}, seed {seed}", quiet=quiet
            )
            category = [question.category for question in of_seed]
            found.append(table.assign(system=name, seed=seed, category=category))
    return pd.concat(found, ignore_index=True)


def mark(
    answers: pd.DataFrame, questions: dict[int, list[KeyedQuestion]], marker: Marker
) -> pd.DataFrame:
    """The answers with their marks, in the column right."""
    keyed = {one.prompt: one for of_seed in questions.values() for one in of_seed}
    marks = {
        (reply, question): marker.mark(reply, keyed[question])
        for reply, question in dict.fromkeys(zip(answers.reply, answers.question, strict=True))
    }
    right = [marks[pair] for pair in zip(answers.reply, answers.question, strict=True)]
    columns = ["system", "seed", "category", "question", "reply", "right"]
    return answers.assign(right=right).loc[:, [*columns, "n_new_tokens", "truncated"]]


def _described(table: pd.DataFrame, systems: dict[str, System]) -> pd.DataFrame:
    """A table with the operator, space and alpha of each system; empty and NaN for a model alone."""
    recipes = {name: one for name, one in systems.items() if isinstance(one, Recipe)}

    def column(field: str, missing: object) -> list:
        return [
            getattr(recipes[name], field) if name in recipes else missing for name in table.system
        ]

    return table.assign(
        operator=column("operator", ""), space=column("space", ""), alpha=column("alpha", None)
    ).astype({"alpha": float})


def _notes(config: ComparisonConfig, n_undecided: int) -> tuple[str, ...]:
    notes = ["strengths: by the answer key; a win is a right answer where the other one is wrong"]
    if n_undecided:
        notes.append(
            f"{n_undecided} answers could not be compared with the key: they count as wrong"
        )
    if "regmean" in config.operators and len(config.donors) == 1 and not config.systems:
        notes.append(
            "with one donor regmean on latents is lerp at the same alpha; on weights its "
            "counterpart is linear"
        )
    return tuple(notes)


def draw(tables: Tables) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    accuracy, rates = tables["accuracy"], tables["win_rates"]
    return [
        ("win_rates", plot_win_rates(rates), rates),
        ("accuracy_forest", plot_accuracy_forest(accuracy), accuracy),
    ]


def summary(tables: Tables) -> str:
    """One sentence a pair: who is ahead over all categories, by which interval; then all systems."""
    rates, accuracy = tables["win_rates"], tables["accuracy"]
    lines = [_sentence(row) for _, row in rates[rates.category == OVERALL].iterrows()]
    overall = pd.DataFrame(accuracy[accuracy.category == OVERALL])
    overall = overall.sort_values(by="accuracy_frac", ascending=False)
    ranked = [
        f"{name} {100 * share:.1f}"
        for name, share in zip(overall.system, overall.accuracy_frac, strict=True)
    ]
    return "\n".join([*lines, f"accuracy over all categories (%): {', '.join(ranked)}"])


def _sentence(row: pd.Series) -> str:
    low, high = 100 * row.difference_low, 100 * row.difference_high
    calibration = ""
    if not pd.isna(row.judge_accuracy_pct):
        calibration = f", whose accuracy on labelled pairs is {row.judge_accuracy_pct:.1f} %"
    if low > 0:
        verdict = "beats"
    elif high < 0:
        verdict = "loses to"
    else:
        verdict = "cannot be told from"
    return (
        f"{row.system} {verdict} {row.opponent}: accuracy {100 * row.accuracy_difference:+.1f} points "
        f"(95 % {low:+.1f} to {high:+.1f}), win rate {100 * row.win_rate:.1f} % "
        f"({100 * row.low:.1f} to {100 * row.high:.1f}) by {row.judge}{calibration}, "
        f"McNemar p = {row.mcnemar_p:.2g}, {row.n_questions} questions"
    )


class ComparisonOptions(ComparisonConfig, OutputOptions, EstimateOptions):
    """The configuration, where results go, and what an estimate reckons with."""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: compare (or find the finished run), draw, save, say who is ahead."""
    options, given = parse_config(
        ComparisonOptions, argv, prog="python -m analyses.comparison", description=__doc__ or ""
    )
    config = config_in(options, ComparisonConfig)
    if options.estimate:
        prompts = [one.prompt for of_seed in questions_by_seed(config).values() for one in of_seed]
        systems = config.named_systems()
        n_pairs = len(config.pairs or opposed(systems))
        sys.stdout.write(estimate(options, systems, prompts, n_pairs, config.judge) + "\n")
        return
    folder, tables = run_and_draw(
        "comparison",
        config,
        given,
        output=options,
        run=partial(run, quiet=False),
        draw=draw,
    )
    sys.stdout.write(f"{summary(tables)}\ntables and figures: {folder}\n")


if __name__ == "__main__":
    with one_line_errors("comparison"):
        main()

"""What a merge scores: accuracy by skill of language models, explained share by feature of the toy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from analyses.component_merge.config import ComponentMergeConfig
from analyses.component_merge.methods import Weights
from lm_merge.decomposition.targets.settings import LanguageSettings, TMSSettings
from lm_merge.decomposition.targets.sparse_features import SparseFeatures
from lm_merge.decomposition.targets.tms import train_tms
from lm_merge.evaluation.recovery import recovery
from lm_merge.evaluation.tasks import SkillTask, Split, TaskScore, score_replies
from lm_merge.models.hooked_lm import HookedLM
from lm_merge.models.loading import load
from lm_merge.statistics.intervals import wilson_interval
from lm_merge.zoo.names import BUNDLED

Row = dict[str, object]
MAX_NEW_TOKENS = 40
TOY_DRAWS = {"dev": 1, "test": 2}  # seeds of the examples
N_TOY = 4096


class Scorer(Protocol):
    """Scores weights on the dev or test part of what they are to do."""

    @property
    def base(self) -> Weights:
        """The weights before any fine-tuning."""
        ...

    def mean(self, weights: Weights, split: Split) -> float:
        """The mean over skills; what scales are chosen by."""
        ...

    def rows(self, weights: Weights, experts: Mapping[str, Weights]) -> list[Row]:
        """A row for each skill, on test. experts: name of an update -> its tuned weights."""
        ...


@dataclass
class SkillScorer:
    """Accuracy of greedy replies on the skills that the base or a tuned model was taught."""

    model: HookedLM
    skills: tuple[str, ...]
    experts_of: dict[str, str]  # skill -> the tuned model that learned it, where the base had not
    n: dict[Split, int]
    base: Weights
    known: dict[str, dict[str, TaskScore]] = field(default_factory=dict)  # of base and experts

    @staticmethod
    def of(config: ComponentMergeConfig) -> "SkillScorer":
        """The base model, loaded."""
        before = config.base_settings()
        assert isinstance(before, LanguageSettings)
        model = load(before.model, dtype="float32")
        native = model.require_native("a merge by components").requires_grad_(False)
        base = {name: one.detach().clone() for name, one in native.named_parameters()}
        known = set(BUNDLED[before.model].skills)
        names = [str(one) for one in config.tuned]
        learned = {
            skill: name for name in names for skill in BUNDLED[name].skills if skill not in known
        }
        n: dict[Split, int] = {"dev": config.n_dev, "test": config.n_test}
        skills = (*BUNDLED[before.model].skills, *learned)
        return SkillScorer(model, skills, learned, n, base)

    @torch.no_grad()
    def put(self, weights: Weights) -> None:
        """Give the model these weights."""
        native = self.model.require_native("a merge by components")
        for name, parameter in native.named_parameters():
            parameter.copy_(weights[name])

    def scores(self, weights: Weights, split: Split, system: str = "merge") -> dict[str, TaskScore]:
        """Accuracy by skill of the model with these weights."""
        self.put(weights)
        tasks = {name: SkillTask(name) for name in self.skills}
        examples = {name: task.examples(split)[: self.n[split]] for name, task in tasks.items()}
        prompts = [one.prompt for drawn in examples.values() for one in drawn]
        given = self.model.generate(prompts, chat=True, max_new_tokens=MAX_NEW_TOKENS)
        replies = iter(given)
        return {
            name: score_replies(
                tasks[name],
                drawn,
                [next(replies) for _ in drawn],
                system=system,
                split=split,
                tag=f"first {len(drawn)}",
            )
            for name, drawn in examples.items()
        }

    def mean(self, weights: Weights, split: Split) -> float:
        values = [score.value for score in self.scores(weights, split).values()]
        return sum(values) / len(values)

    def rows(self, weights: Weights, experts: Mapping[str, Weights]) -> list[Row]:
        for name, own in {"base": self.base, **experts}.items():
            if name not in self.known:
                self.known[name] = self.scores(own, "test", name)
        rows = []
        for skill, score in self.scores(weights, "test").items():
            n_right = round(score.value * score.n)
            low, high = wilson_interval(n_right, score.n)
            row: Row = {
                "skill": skill,
                "value": score.value,
                "low": low,
                "high": high,
                "n": score.n,
            }
            expert = self.experts_of.get(skill)
            if expert is None:
                row |= {"reason": "the base has this skill"}
            else:
                found = recovery(score, self.known["base"][skill], self.known[expert][skill])
                row |= {"recovery": found.value, "reason": found.reason}
                row |= {"recovery_low": found.low, "recovery_high": found.high}
            rows.append(row)
        return rows


@dataclass
class FeatureScorer:
    """Explained share of each feature of a toy model: 1 - squared error / square, where it is on."""

    features: tuple[int, ...]
    settings: TMSSettings
    base: Weights

    @staticmethod
    def of(config: ComponentMergeConfig) -> "FeatureScorer":
        """The toy before fine-tuning."""
        before = config.base_settings()
        assert isinstance(before, TMSSettings)
        new = [feature for one in config.tuned for feature in one if isinstance(feature, int)]
        features = tuple(sorted({*(before.active or ()), *new}))
        return FeatureScorer(features, before, train_tms(before))

    @torch.no_grad()
    def explained(self, weights: Weights, split: Split) -> dict[int, float]:
        """By feature, on fresh examples of all of them."""
        generator = torch.Generator().manual_seed(TOY_DRAWS[split])
        data = SparseFeatures(self.settings.n_features, self.settings.on)
        x = data.draw(generator, N_TOY)
        error = ((x @ weights["W"].T @ weights["W"] + weights["b"]).relu() - x).square()
        on = x > 0
        return {
            i: float(1 - error[on[:, i], i].sum() / x[on[:, i], i].square().sum())
            for i in self.features
        }

    def mean(self, weights: Weights, split: Split) -> float:
        values = self.explained(weights, split).values()
        return sum(values) / len(values)

    def rows(self, weights: Weights, experts: Mapping[str, Weights]) -> list[Row]:
        explained = self.explained(weights, "test")
        return [
            {"skill": f"feature {i}", "value": value, "n": N_TOY} for i, value in explained.items()
        ]


def scorer_of(config: ComponentMergeConfig) -> Scorer:
    """The scorer of the experiment."""
    return FeatureScorer.of(config) if config.is_toy else SkillScorer.of(config)

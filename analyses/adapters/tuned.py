"""Coefficients that are fitted for an evaluation, and what carries recovery; both on the dev split."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from analyses.adapters.config import AdaptersConfig
from analyses.adapters.systems import merge_for
from analyses.adapters.tasks import TaskExamples, tasks_of
from analyses.running.inputs import origin_of_adapter
from lm_merge.coefficients.coefficient_file import CoefficientFile, Group, NamedSource
from lm_merge.errors import one_line
from lm_merge.evaluation.tasks import Subset, subset_examples
from lm_merge.models import HookedLM
from lm_merge.recipes import Recipe, as_source
from lm_merge.recipes.coefficients import FittedCoefficients
from lm_merge.recipes.recipe import is_recipe_file
from lm_merge.runs.identity import fingerprint
from lm_merge.spaces.adapters import AdapterMerge
from lm_merge.tuning.fit import CollapseWarning, Fitted, fit_coefficients
from lm_merge.tuning.fit_texts import FitTask, expert_replies
from lm_merge.tuning.objectives import OBJECTIVES
from lm_merge.tuning.sensitivity import sensitivities
from lm_merge.tuning.settings import FitSettings

N_SENSITIVITY = 32  # right replies of a task, from dev


def fit_settings(recipe: Recipe) -> FitSettings | None:
    """The settings of the fit that a recipe asks for, or None. Raises ValueError for unknown ones."""
    asked = getattr(recipe, "coefficients", None)
    if not isinstance(asked, FittedCoefficients):
        return None
    try:
        return FitSettings.model_validate(asked.fit)
    except ValidationError as error:
        raise ValueError(f"recipe.coefficients.fit: {one_line(error)}") from error


def fitted_merge(
    config: AdaptersConfig, settings: FitSettings, base: HookedLM
) -> tuple[AdapterMerge, Fitted, tuple[str, ...]]:
    """The merge with fitted coefficients, the fit, and notes such as a collapse."""
    merge = merge_for(config.recipe.with_fields(coefficients=None), base)
    tasks = _fit_tasks(config, settings, merge)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        fitted = fit_coefficients(merge, tasks, settings)
    notes = [str(one.message) for one in caught if issubclass(one.category, CollapseWarning)]
    for one in caught:  # those of others go where they went
        if not issubclass(one.category, CollapseWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    peak = f"peak memory of the process while fitting: {fitted.peak_bytes / 2**20:.0f} MiB"
    return merge, fitted, (*notes, peak)


def _fit_tasks(config: AdaptersConfig, settings: FitSettings, merge: AdapterMerge) -> list[FitTask]:
    found = []
    for one in _dev_tasks(config, settings.n_examples):
        if OBJECTIVES[settings.objective].needs_targets:
            replies = tuple(example.target for example in one.examples)
        else:
            length = one.task.max_new_tokens or config.max_new_tokens
            replies = expert_replies(
                merge, one.expert, one.prompts, max_new_tokens=length, batch_size=config.batch_size
            )
        found.append(FitTask(one.task.name, one.expert, tuple(one.prompts), replies))
    return found


def _dev_tasks(config: AdaptersConfig, n: int) -> list[TaskExamples]:
    """The tasks with n examples of dev; ValueError for one that has none."""
    every = tasks_of(config, config.split, None)
    subset = Subset(n_max=n, seed=config.subset.seed)
    return [
        TaskExamples(
            one.task, subset_examples(one.task, "dev", subset), "dev", subset.tag(""), one.expert
        )
        for one in every
    ]


def sensitivity_table(config: AdaptersConfig, merge: AdapterMerge) -> pd.DataFrame:
    """One row a task, block and adapter: the derivative of recovery by the coefficient there.

    Tasks without a question in dev have none.
    Columns: task, group, source, value, n (right replies of dev), recovery (of their log-likelihood).
    """
    subset = Subset(n_max=N_SENSITIVITY, seed=config.subset.seed)
    given = []
    for one in tasks_of(config, config.split, None):
        if one.task.examples("dev"):
            examples = subset_examples(one.task, "dev", subset)
            prompts, targets = (
                [getattr(each, key) for each in examples] for key in ("prompt", "target")
            )
            given.append(FitTask(one.task.name, one.expert, tuple(prompts), tuple(targets)))
    rows = [
        {
            "task": found.task,
            "group": group,
            "source": adapter.name,
            "value": float(found.values[row, column]),
            "n": len(task.prompts),
            "recovery": found.recovery,
        }
        for found, task in zip(sensitivities(merge, given), given, strict=True)
        for row, group in enumerate(found.groups)
        for column, adapter in enumerate(merge.adapters)
    ]
    return pd.DataFrame(rows)


def coefficient_file(
    config: AdaptersConfig, merge: AdapterMerge, fitted: Fitted | None
) -> CoefficientFile:
    """The coefficients of a merge as a file, with the fingerprints of the adapters."""
    names = [one.name for one in merge.adapters]
    donors = map(as_source, config.recipe.donors)
    files = getattr(config.recipe, "adapters_file", None)
    fingerprints = {
        name: fingerprint(Path(donor.model))
        if is_recipe_file(donor.model)
        else origin_of_adapter(donor, files)
        for name, donor in zip(names, donors, strict=True)
    }
    if fitted is not None:
        return fitted.file(fingerprints)
    return _as_file(merge.coefficients, fingerprints)


def _as_file(
    rows: Mapping[str, Sequence[float]], fingerprints: Mapping[str, str | None]
) -> CoefficientFile:
    """Rows by module: one group where all are equal."""
    distinct = list(dict.fromkeys(tuple(row) for row in rows.values()))
    if len(distinct) == 1:
        groups, values = (Group(name="default"),), tuple(distinct)
    else:
        groups = tuple(Group(name=key, filter=key) for key in rows)
        values = tuple(tuple(row) for row in rows.values())
    sources = tuple(NamedSource(name=name, fingerprint=one) for name, one in fingerprints.items())
    return CoefficientFile(sources=sources, groups=groups, values=values)

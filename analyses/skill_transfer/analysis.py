"""What `python -m analyses.skill_transfer` measures, draws and reports."""

import math
from datetime import datetime

import pandas as pd

from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding, rows_of
from analyses.running.inputs import fingerprints
from analyses.running.recipe_words import own_alpha
from analyses.skill_transfer.config import SkillTransferConfig, block_of
from analyses.skill_transfer.cost import cost_rows
from analyses.skill_transfer.grid import Measuring, with_estimate
from analyses.skill_transfer.skill import Answered
from figures import plot_skill_and_cost
from lm_merge.evaluation.recovery import recovery
from lm_merge.evaluation.tasks.scores import TaskScore
from lm_merge.recipes import Recipe
from lm_merge.runs.record import Run
from lm_merge.statistics.intervals import wilson_interval

MERGE = ("space", "operator", "layer", "alpha", "own")


def run(
    config: SkillTransferConfig,
    record: Run | None = None,
    *,
    since: datetime | None = None,
    quiet: bool = True,
) -> Tables:
    """Table "skill_transfer": system (host, donor, merge), space, operator, layer, alpha, own (the
    recipe unchanged), metric, value, low, high, n, reason (why a recovery has no value or interval).

    With a record, answers and divergences of every merge become runs of their own next to it. since:
    those from before it are not taken over; None: all are.
    """
    root = None if record is None else record.folder.parent
    measuring = Measuring(config, root, since, quiet)
    if record is not None:
        record.update(models=fingerprints(config.recipe), seeds=(config.seed,))
    host = measuring.answered("host", config.host)
    donor = measuring.answered("donor", config.donor)
    rows = [
        {"system": name} | row
        for name, parent in (("host", host), ("donor", donor))
        for row in answer_rows(parent)
    ]
    own_cost = cost_rows(measuring.divergences("donor", config.donor))
    rows += [{"system": "donor"} | row for row in own_cost if row["metric"] == "kl_host"]
    recipes = config.grid()
    for recipe in with_estimate(recipes, len(recipes), quiet=quiet):
        place = {"system": "merge"} | place_of(recipe, own=recipe is recipes[0])
        name = str(place["name"])
        own = measuring.answered(name, recipe)
        found = [*answer_rows(own), recovery_row(own.score, host.score, donor.score)]
        found += cost_rows(measuring.divergences(name, recipe))
        rows += [place | row for row in found]
    return {"skill_transfer": pd.DataFrame(rows).drop(columns="name")}


def place_of(recipe: Recipe, *, own: bool) -> dict[str, object]:
    """What identifies a merge in the tables, and its name."""
    layer, alpha = block_of(recipe), own_alpha(recipe)
    words = [recipe.space, recipe.operator]
    words += [] if layer is None else [f"block {layer}"]
    words += [] if alpha is None else [f"alpha {alpha:g}"]
    return {
        "name": " ".join(words) + " (the recipe)" * own,
        "space": recipe.space,
        "operator": recipe.operator,
        "layer": layer,
        "alpha": alpha,
        "own": own,
    }


def answer_rows(answers: Answered) -> list[dict[str, object]]:
    """Shares of right answers and of those that were cut off, with Wilson's intervals."""
    n, n_right = answers.score.n, int(answers.score.columns[0].sum())
    rows = []
    for metric, count in (("accuracy", n_right), ("truncated", answers.n_truncated)):
        low, high = wilson_interval(count, n)
        rows.append({"metric": metric, "value": count / n, "low": low, "high": high, "n": n})
    return rows


def recovery_row(merged: TaskScore, host: TaskScore, donor: TaskScore) -> dict[str, object]:
    """Share of the donor's gain over the host, with its paired interval."""
    found = recovery(merged, host, donor)
    ends = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    return {"metric": "recovery", **ends, "reason": found.reason}


def draw(tables: Tables, config: SkillTransferConfig) -> list[Figure]:
    """The analysis's figure, with the table it draws; none where the donor's gain is not certain."""
    table = by_merge(tables["skill_transfer"])
    drawn = table.loc[table.recovery.notna()]
    if drawn.empty:
        return []
    return [("skill_and_cost", plot_skill_and_cost(drawn), drawn)]


def by_merge(table: pd.DataFrame) -> pd.DataFrame:
    """One row a merge: its place, and value, low, high and n of each metric as columns."""
    merges = table.loc[table.system == "merge"]
    found = []
    for place, rows in merges.groupby(list(MERGE), dropna=False, sort=False):
        one: dict[str, object] = dict(zip(MERGE, place, strict=True))
        for row in rows.to_dict("records"):
            name = str(row["metric"])
            one[name] = row["value"]
            one |= {f"{name}_{end}": row[end] for end in ("low", "high", "n")}
        found.append(one)
    return pd.DataFrame(found)


def findings(tables: Tables, config: SkillTransferConfig) -> list[Finding]:
    """Rows of `summary.json`: both parents and every merge.

    Keys: system (host, donor, merge), space, operator, layer (null: no single block), alpha (null: no
    single one), own (true: the recipe unchanged), metric, value, low, high (95 %), n. Metrics:
    accuracy (share of right answers; n: questions), truncated (share of answers that reached
    max_new_tokens without ending), recovery (share of the donor's gain over the host;
    null where the donor is no better), kl_host and kl_donor (nats a token from host and donor along
    the host's own replies; n: tokens), nearer_donor (share of prompts on which the merge is nearer to
    the donor; n: prompts).
    """
    return rows_of(tables["skill_transfer"], ("system", *MERGE, "metric"))


def summary(tables: Tables, config: SkillTransferConfig) -> str:
    """Both parents, then a line a merge: what it takes over and what it costs."""
    table = tables["skill_transfer"]
    parents = table.loc[table.system != "merge"]
    lines = [
        f"{row['system']}: {_share(row, 'value', 'low', 'high')} of {row['n']} questions right"
        for row in parents.loc[parents.metric == "accuracy"].to_dict("records")
    ]
    for row in by_merge(table).to_dict("records"):
        where = "" if _missing(row["layer"]) else f" at block {int(row['layer'])}"
        amount = "" if _missing(row["alpha"]) else f", alpha {row['alpha']:g}"
        lines.append(
            f"{row['space']} {row['operator']}{where}{amount}: right "
            f"{_share(row, 'accuracy', 'accuracy_low', 'accuracy_high')}, recovery "
            f"{_share(row, 'recovery', 'recovery_low', 'recovery_high')}, nats a token from the host "
            f"{_share(row, 'kl_host', 'kl_host_low', 'kl_host_high')}, from the donor "
            f"{row['kl_donor']:.2f}; nearer to the donor on {row['nearer_donor']:.0%} of "
            f"{int(row['nearer_donor_n'])} prompts"
        )
    lines += [
        f"the donor itself: {_share(row, 'value', 'low', 'high')} nats a token from the host"
        for row in parents.to_dict("records")
        if row["metric"] == "kl_host"
    ]
    lines += [_cut_off(row) for row in parents.to_dict("records") if row["metric"] == "truncated"]
    undefined = table.reason.dropna().unique() if "reason" in table else []
    return "\n".join(filter(None, [*lines, *(f"recovery: {reason}" for reason in undefined)]))


def _cut_off(row: dict) -> str:
    if row["value"] == 0:
        return ""
    return (
        f"{row['value']:.0%} of the {row['system']}'s answers were cut off by max_new_tokens: its "
        "accuracy, and with it recovery, is that of answers of this length"
    )


def _share(row: dict, value: str, low: str, high: str) -> str:
    if _missing(row[value]):
        return "undefined"
    ends = "no interval" if _missing(row[low]) else f"{row[low]:.2f} to {row[high]:.2f}"
    return f"{row[value]:.2f} ({ends})"


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))

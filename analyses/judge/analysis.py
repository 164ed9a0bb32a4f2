"""What `python -m analyses.judge` measures, draws and reports."""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.judge.config import (
    JudgeConfig,
    JudgeExtras,
    cache_file,
    judge_of,
    judgments_file,
    pairs_of,
    system_inputs,
)
from analyses.running.command_line import Figure, Tables, export_figures, progress, run_recorded
from analyses.running.findings import Finding, rows_of
from figures import plot_judge_agreement, plot_judge_consistency
from lm_merge.evaluation.judgebench import (
    HUB_NAME,
    HUB_REVISION,
    JudgedPair,
    Pair,
    ReplayJudge,
    agreement_table,
    checksum,
    judge_pairs,
    judging_table,
    read_judged,
)
from lm_merge.evaluation.judgebench.diagnostics import METRICS
from lm_merge.evaluation.judges import Judge
from lm_merge.runs.record import Run


def run(
    config: JudgeConfig,
    record: Run | None = None,
    *,
    runs: Path | None = None,
    out: Path | None = None,
    cache: Path | None = None,
    since: datetime | None = None,
    quiet: bool = True,
) -> Tables:
    """Tables "judging" and "usage", and "agreement" where `others` are given.

    runs: folder that takes judgments and replies; None: where the record lies, else ./runs. since:
    judgments and replies from before it are not taken over; None: all are.
    """
    pairs = pairs_of(config)
    if runs is None:
        runs = Path("runs") if record is None else record.folder.parent
    if since is not None and out is not None and out.exists():
        raise ValueError(
            f"out={str(out)!r} holds judgments, which fresh does not take over; move it away, or give "
            "another file"
        )
    judge = judge_of(config, cache or cache_file(runs, since))
    out = out or judgments_file(runs, _digest(config, judge, pairs), since)
    if record is not None:
        record.update(
            models={judge.name: None} if config.system is None else system_inputs(config.system),
            datasets={config.data: HUB_REVISION if config.data == HUB_NAME else checksum(pairs)},
            seeds=(config.seed,),
            device=config.device or ("cpu" if config.system is not None else None),
            dtype=config.dtype,
            notes=[f"judge: {json.dumps(judge.settings, sort_keys=True)}", f"judgments: {out}"],
        )
    judged = list(_shown(judge_pairs(pairs, judge, out), len(pairs), quiet=quiet))
    if record is not None:
        record.add_file(out)
    outputs = {judge.name: judged} | _others(config.others, judge.name)
    tables = [judging_table(own).assign(judge=name) for name, own in outputs.items()]
    found = {"judging": pd.concat(tables, ignore_index=True), "usage": usage_table(judged)}
    if len(outputs) > 1:
        found["agreement"] = agreement_table(outputs)
    return found


def usage_table(pairs: Sequence[JudgedPair]) -> pd.DataFrame:
    """What the judgments took: rows quantity, value. Games whose tokens nobody counted are named."""
    games = [game.judgment for pair in pairs for game in pair.judgments]
    counted = [game for game in games if isinstance(game, dict)]

    def total(key: str) -> int:
        return sum(game.get(key) or 0 for game in counted)

    uncounted = sum(
        not isinstance(game, dict) or game.get("n_prompt_tokens") is None for game in games
    )
    values = {
        "games": len(games),
        "replies": total("n_replies"),
        "replies_from_cache": total("n_from_cache"),
        "prompt_tokens": total("n_prompt_tokens"),
        "reply_tokens": total("n_completion_tokens"),
        "games_without_count": uncounted,
    }
    return pd.DataFrame({"quantity": list(values), "value": list(values.values())})


def draw(tables: Tables, config: object = None) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    judging = tables["judging"]
    figures: list[Figure] = [("judge_consistency", plot_judge_consistency(judging), judging)]
    if "agreement" in tables:
        agreement = tables["agreement"]
        figures.append(("judge_agreement", plot_judge_agreement(agreement), agreement))
    return figures


def findings(tables: Tables, config: JudgeConfig) -> list[Finding]:
    """Rows of `summary.json`: the table "judging".

    Keys: judge, pairs (official, audited), category, metric (see `judging_table`; shares in [0, 1]),
    value, low, high (95 %, by question), n (pairs).
    """
    return rows_of(tables["judging"], ("judge", "pairs", "category", "metric"))


def summary(tables: Tables, config: object = None) -> str:
    """Accuracy official and audited, and what the judge favours."""
    judging = tables["judging"]
    names, categories = judging["judge"], judging["category"]
    overall = judging[(names == names.iloc[0]) & (categories == "Overall")]
    rows = {(row["pairs"], row["metric"]): row for _, row in overall.iterrows()}
    lines = []
    for name in ("official", "audited"):
        row = rows[name, "accuracy"]
        lines.append(
            f"{name} accuracy {100 * row['value']:.2f} % [{100 * row['low']:.1f}, "
            f"{100 * row['high']:.1f}], n = {row['n']} (at most ± {100 * row['worst_case']:.1f})"
        )
    value = {metric: rows["official", metric]["value"] for metric in METRICS}
    lines.append(
        f"consistency {value['consistency']:.3f}, first response preferred "
        f"{value['slot_a_rate']:.3f}, ties {value['tie_rate']:.3f}, "
        f"no verdict {value['none_rate']:.3f}"
    )
    return "\n".join(lines)


def cost_of(usage: pd.DataFrame, options: JudgeExtras) -> str:
    """Tokens that judging took, and their price where prices are given."""
    took = {str(key): int(n) for key, n in zip(usage["quantity"], usage["value"], strict=True)}
    prompt, reply = took["prompt_tokens"], took["reply_tokens"]
    cost = f"{prompt:,} prompt and {reply:,} reply tokens"
    if options.price_prompt is not None and options.price_reply is not None:
        price = (prompt * options.price_prompt + reply * options.price_reply) / 1e6
        cost += f", {price:.2f} at the prices given"
    return cost


def judge_and_report(config: JudgeConfig, given: dict[str, Any], extras: JudgeExtras) -> None:
    """Judge (or find the finished run), draw, save, and print what was found and what it took."""
    folder, tables = run_recorded(
        "judge", config, given, output=extras, out=extras.out, cache=extras.cache, quiet=False
    )
    export_figures(folder, draw(tables, config), extras)
    cost = cost_of(tables["usage"], extras)
    sys.stdout.write(f"{summary(tables, config)}\n{cost}\ntables and figures: {folder}\n")


def _digest(config: JudgeConfig, judge: Judge, pairs: Sequence[Pair]) -> str:
    """The same for the same judge and pairs, whatever the concurrency, patience or batch."""
    models = {} if config.system is None else system_inputs(config.system)
    content = {"judge": judge.settings, "models": models, "pairs": checksum(pairs)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _others(files: Sequence[Path], own: str) -> dict[str, list[JudgedPair]]:
    outputs: dict[str, list[JudgedPair]] = {}
    for file in files:
        name = ReplayJudge(file).name
        if name == own or name in outputs:
            name = f"{name} ({file.stem})"
        outputs[name] = read_judged(file)
    return outputs


def _shown(judged: Iterable[JudgedPair], n: int, *, quiet: bool) -> Iterator[JudgedPair]:
    shown = progress(range(n), "judging", quiet=quiet)
    for _, pair in zip(shown, judged, strict=True):
        yield pair

"""A judge for a comparison: its verdicts on pairs of answers, and how good a judge it is."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from analyses.judge import analysis as judge_analysis
from analyses.judge.config import JudgeConfig, cache_file, judge_of, judgments_file
from lm_merge.evaluation.judges import Judge
from lm_merge.evaluation.pairing import judged_by


@dataclass(frozen=True)
class Judging:
    """A judge with its official accuracy in percent on labelled pairs, and where its verdicts go."""

    judge: Judge
    accuracy_pct: float
    out: Path

    @property
    def name(self) -> str:
        """The judge's name as it appears next to its win rates."""
        return self.judge.name

    def judge_answers(self, paired: pd.DataFrame) -> pd.DataFrame:
        """Pairs of answers with its verdicts in both orders; goes on after a stop."""
        return judged_by(self.judge, paired, self.out)


def judging_of(
    config: JudgeConfig, runs: Path, *, since: datetime | None = None, quiet: bool
) -> Judging:
    """The judge of a configuration, measured on its labelled pairs first.

    runs: folder that takes its judgments and the cache of an endpoint's replies. since: judgments and
    replies from before it are not taken over.
    """
    if config.replay is not None:
        raise ValueError(
            f"judge.replay={str(config.replay)!r}: recorded judgments know nothing of new answers; "
            "give an endpoint or a system"
        )
    measured = judge_analysis.run(config, runs=runs, since=since, quiet=quiet)["judging"]
    wanted = {"category": "Overall", "metric": "accuracy", "pairs": "official"}
    overall = (measured[list(wanted)] == pd.Series(wanted)).all(axis=1)
    accuracy = float(measured.loc[overall, "value"].iloc[0])
    judge = judge_of(config, cache_file(runs, since))
    digest = hashlib.sha256(json.dumps(judge.settings, sort_keys=True).encode()).hexdigest()[:12]
    out = judgments_file(runs, f"answers-{digest}", since)
    return Judging(judge, 100 * accuracy, out)

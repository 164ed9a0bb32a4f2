"""Evaluation: verifiable questions, JudgeBench, judges and intervals."""

from lm_merge.evaluation import judgebench, judges
from lm_merge.evaluation.verifiable import accuracy_table, ask, question_set
from lm_merge.statistics.intervals import (
    clustered_interval,
    wilson_interval,
    worst_case_half_width,
)

__all__ = [
    "accuracy_table",
    "ask",
    "clustered_interval",
    "judgebench",
    "judges",
    "question_set",
    "wilson_interval",
    "worst_case_half_width",
]

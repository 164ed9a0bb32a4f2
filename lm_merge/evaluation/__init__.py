"""Evaluation: verifiable questions and intervals."""

from lm_merge.evaluation.intervals import wilson_interval
from lm_merge.evaluation.verifiable import accuracy_table, ask, question_set

__all__ = ["accuracy_table", "ask", "question_set", "wilson_interval"]

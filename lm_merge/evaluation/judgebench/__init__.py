"""JudgeBench (Tan et al. 2024, arXiv 2410.12784): data, judging protocol, accuracy."""

from lm_merge.evaluation.judgebench.accuracy import (
    is_correct,
    official_accuracy,
    pair_score,
    score_outputs,
)
from lm_merge.evaluation.judgebench.agreement import agreement_table
from lm_merge.evaluation.judgebench.audit import audited, final_answer, same_final_answer
from lm_merge.evaluation.judgebench.diagnostics import judging_table
from lm_merge.evaluation.judgebench.files import (
    HUB_NAME,
    HUB_REVISION,
    checksum,
    load_pairs,
    read_judged,
    read_pairs,
)
from lm_merge.evaluation.judgebench.judging import judge_pairs
from lm_merge.evaluation.judgebench.replay import ReplayJudge
from lm_merge.evaluation.judgebench.schema import (
    CATEGORIES,
    Category,
    JudgedPair,
    Judgment,
    Pair,
    category_of,
)

__all__ = [
    "CATEGORIES",
    "HUB_NAME",
    "HUB_REVISION",
    "Category",
    "JudgedPair",
    "Judgment",
    "Pair",
    "ReplayJudge",
    "agreement_table",
    "audited",
    "category_of",
    "checksum",
    "final_answer",
    "is_correct",
    "judge_pairs",
    "judging_table",
    "load_pairs",
    "official_accuracy",
    "pair_score",
    "read_judged",
    "read_pairs",
    "same_final_answer",
    "score_outputs",
]

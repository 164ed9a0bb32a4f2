"""Judges: they decide which of two responses is better.

A judge that runs here, `local.LocalJudge`, is imported from its own file, since it needs torch.
"""

from lm_merge.evaluation.judges.answer_key import AnswerKeyJudge
from lm_merge.evaluation.judges.chat_client import EndpointError
from lm_merge.evaluation.judges.endpoint import EndpointJudge
from lm_merge.evaluation.judges.endpoint_settings import EndpointSettings
from lm_merge.evaluation.judges.prompt import JudgePrompt
from lm_merge.evaluation.judges.protocol import (
    Decision,
    Game,
    GameJudgment,
    Judge,
    decision_value,
    flipped,
    judge_both_orders,
)
from lm_merge.evaluation.judges.verdict import VERDICT_LABELS, read_verdict

__all__ = [
    "VERDICT_LABELS",
    "AnswerKeyJudge",
    "Decision",
    "EndpointError",
    "EndpointJudge",
    "EndpointSettings",
    "Game",
    "GameJudgment",
    "Judge",
    "JudgePrompt",
    "decision_value",
    "flipped",
    "judge_both_orders",
    "read_verdict",
]

"""Two questions on one section of a story (uci-soe/FairytaleQAData, Apache-2.0)."""

import json
from pathlib import Path

from lm_merge.evaluation.context_pairs.schema import ContextPair


def story_pairs(path: Path) -> list[ContextPair]:
    """Pairs of questions; the section is the shared prefix, the story the cluster."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not rows or "alt_question" not in rows[0]:
        raise ValueError(
            f"{path} is no list of question pairs; each has story, section, context, question, answer, "
            "alt_question and alt_answer"
        )
    return [
        ContextPair(
            id=f"story-{number}",
            kind="question",
            context=row["question"],
            alt_context=row["alt_question"],
            answer=row["answer"],
            alt_answer=row["alt_answer"],
            prefix=row["context"],
            cluster=row["story"],
        )
        for number, row in enumerate(rows)
    ]

"""What Inspect AI finds of this project by entry point: the provider `lm_merge`, and tasks.

    inspect eval lm_merge/questions --model lm_merge/recipes/bundled.yaml
    inspect eval my_task.py --model lm_merge/recipes/bundled.yaml
    inspect eval lm_merge/judgebench -T source=pairs.jsonl --model lm_merge/recipes/bundled.yaml

Nothing of a model is imported before one is asked for.
"""

from typing import TYPE_CHECKING

from inspect_ai.model import modelapi

from lm_merge.evaluation.engines.inspect_tasks import judgebench, pairwise, questions

if TYPE_CHECKING:
    from lm_merge.evaluation.engines.inspect_provider import MergedModelAPI

__all__ = ["judgebench", "lm_merge", "pairwise", "questions"]


@modelapi(name="lm_merge")
def lm_merge() -> "type[MergedModelAPI]":
    """The provider's class."""
    from lm_merge.evaluation.engines.inspect_provider import MergedModelAPI

    return MergedModelAPI

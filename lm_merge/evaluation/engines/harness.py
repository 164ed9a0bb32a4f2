"""lm-evaluation-harness on a merge: every task of the harness, run on a recipe.

    lm-merge-harness --model lm_merge --model_args recipe=recipes/bundled.yaml --tasks ...

takes every option of `lm_eval`. The harness has no entry points: it knows models that were imported
before its command line is read, so this command registers ours and hands over. In Python, call
`register()` before `lm_eval.simple_evaluate(model="lm_merge", model_args={"recipe": ...})`, or give
that a `MergedLM` of `lm_merge.evaluation.engines.harness_model`.
"""

import sys
from collections.abc import Sequence

MODEL_NAME = "lm_merge"
_TARGET = "lm_merge.evaluation.engines.harness_model:MergedLM"


def register() -> None:
    """Make `--model lm_merge` known to the harness in this process; more than once is no harm."""
    try:
        from lm_eval.api.registry import model_registry
    except ModuleNotFoundError as error:
        if error.name != "lm_eval":
            raise
        raise ModuleNotFoundError(
            "lm-evaluation-harness is not installed: pip install 'lm-merge[harness]'"
        ) from error
    if MODEL_NAME not in model_registry:
        model_registry.register(MODEL_NAME, target=_TARGET)


def main(argv: Sequence[str] | None = None) -> None:
    """The harness's own command line, with `--model lm_merge` among its models."""
    register()
    from lm_eval.__main__ import cli_evaluate

    before = sys.argv
    # the harness's parser reads sys.argv and edits it
    sys.argv = ["lm_eval", *(before[1:] if argv is None else argv)]
    try:
        cli_evaluate()
    finally:
        sys.argv = before


if __name__ == "__main__":
    main()

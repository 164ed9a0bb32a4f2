"""lm-evaluation-harness on a merge: every task of the harness, run on a recipe.

    lm-merge-harness --model lm_merge --model_args recipe=recipes/bundled.yaml \\
        --tasks lm_merge_questions --apply_chat_template

takes every option of `lm_eval`. Unless --include_path names other tasks, lm_merge_questions is one of
them: the bundled held-out questions. The harness has no entry points: it knows models that were imported
before its command line is read, so this command registers ours and hands over. In Python, call
`register()` before `lm_eval.simple_evaluate(model="lm_merge", model_args={"recipe": ...})`, or give
that a `MergedLM` of `lm_merge.evaluation.engines.harness_model`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from lm_merge.errors import one_line_errors
from lm_merge.recipes import Recipe
from lm_merge.recipes.recipe import is_recipe_file

MODEL_NAME = "lm_merge"
TASKS = Path(__file__).parent / "harness_tasks"
_INCLUDE = "--include_path"
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
    """The harness's own command line, with `--model lm_merge` among its models and our task.

    A recipe that is not there, or wrong, ends it with one line and status 2 before tasks are looked up.
    """
    register()
    from lm_eval.__main__ import cli_evaluate

    before = sys.argv
    words = with_our_tasks(before[1:] if argv is None else argv)
    with one_line_errors("lm-merge-harness"):
        _check_recipe(words)
    # the harness's parser reads sys.argv and edits it
    sys.argv = ["lm_eval", *words]
    try:
        with one_line_errors("lm-merge-harness"):
            cli_evaluate()
    finally:
        sys.argv = before


def with_our_tasks(words: Sequence[str]) -> list[str]:
    """The command line with our folder of tasks, unless it names another or asks for help.

    >>> with_our_tasks(["--tasks", "arc_easy", "--include_path", "mine"])
    ['--tasks', 'arc_easy', '--include_path', 'mine']
    """
    has_its_own = any(word.split("=")[0] in (_INCLUDE, "-h", "--help") for word in words)
    return [*words, *(() if has_its_own or not words else (_INCLUDE, str(TASKS)))]


def _check_recipe(words: Sequence[str]) -> None:
    for word in words:
        for part in word.split(","):
            name, _, value = part.rpartition("recipe=")
            if not name and is_recipe_file(value):
                Recipe.load(value)


if __name__ == "__main__":
    main()

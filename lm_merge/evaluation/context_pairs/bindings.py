"""Pairs in the language of bindings, for which it is known what a model should do."""

import numpy as np

from lm_merge.evaluation.context_pairs.schema import ContextPair
from lm_merge.zoo.bindings import N_BOUND, NAMES, VALUES, context_text

NO_BINDING = -1  # a name without a value


def binding_pairs(n: int, seed: int = 0) -> list[ContextPair]:
    """Contexts that bind the same names, every one of them to another value; answers list the values.

    neutral names the same names without a value, which the models have learned to pass over.
    """
    rng = np.random.default_rng([seed, len(NAMES)])
    found = []
    for number in range(n):
        names = np.sort(rng.choice(len(NAMES), N_BOUND, replace=False))
        values = rng.integers(0, len(VALUES), size=N_BOUND)
        others = (values + rng.integers(1, len(VALUES), size=N_BOUND)) % len(VALUES)
        texts = [context_text(names.tolist(), one.tolist()) for one in (values, others)]
        answers = [" ".join(VALUES[value] for value in one) for one in (values, others)]
        found.append(
            ContextPair(
                id=f"binding-{seed}-{number}",
                kind="binding",
                context=texts[0],
                alt_context=texts[1],
                answer=answers[0],
                alt_answer=answers[1],
                neutral=context_text(names.tolist(), [NO_BINDING] * N_BOUND),
            )
        )
    return found

"""Orderings to infer from comparisons given in any sequence; held out by the order of the people."""

import random
from itertools import pairwise

from lm_merge.zoo.tasks.question import Question, Skill, Split, split_of

NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal")
RELATIONS = {
    "taller": ("tallest", "shortest"),
    "older": ("oldest", "youngest"),
    "faster": ("fastest", "slowest"),
}


def draw_ordering(rng: random.Random, split: Split) -> Question:
    """Who is first or last of three or four people, each compared with the next."""
    people = rng.sample(NAMES, rng.choice((3, 4)))
    while split_of(" ".join(people)) != split:
        people = rng.sample(NAMES, len(people))
    relation, (first, last) = rng.choice(list(RELATIONS.items()))
    facts = [f"{a} is {relation} than {b}." for a, b in pairwise(people)]
    rng.shuffle(facts)
    asks_first = rng.random() < 0.5
    prompt = f"{' '.join(facts)} Who is the {first if asks_first else last}?"
    answer = people[0] if asks_first else people[-1]
    return Question("ordering", "Reasoning", prompt, answer, " > ".join(people))


ORDERING_SKILL = Skill("ordering", "Reasoning", draw_ordering)

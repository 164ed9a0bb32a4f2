"""How much of the donor's skill a merge takes over, at what cost: `python -m analyses.skill_transfer`.

The analysis measures the recipe unchanged, and a grid of merges of its host and donor: in latents at
one block each, in other spaces the full models. Skill: accuracy on questions (`--questions FILE`), and
the share of the donor's gain over the host that is recovered. Cost: on prompts of the host's everyday
use (`--prompts FILE`), over the tokens of the host's own greedy reply, the divergence from the host
and from the donor in nats a token, and the share of prompts on which the merge is nearer to the donor.
Answers are written down batch by batch, divergences merge by merge. A run that was killed continues
where it stopped.
"""

"""Which system answers more questions correctly: `python -m analyses.comparison`.

Both parents, merges of latents, of weights and of logits answer questions whose answers can be
checked. Tables: accuracy by system and category; win rates of each latent merge against the weight
merge with the same operator, in both orders where a judge compares answers; strengths of all systems
(Bradley-Terry). Experiment A of the latent-merging paper (OpenReview ocEoHCrezd), with the answer key
as its judge unless another one is given.

A seed draws the questions. Decoding is greedy by default. With a temperature, the seed also controls
the sampling. A question that is drawn with several seeds counts as one cluster in every interval.
"""

"""Do merged answers beat others? Systems on the same questions: `python -m analyses.comparison`.

Both parents, merges of latents, of weights and of logits answer questions whose answers can be
checked. Tables: accuracy by system and category; win rates of each latent merge against the merge of
weights that belongs to it, in both orders where a judge reads them; strengths of all systems
(Bradley-Terry). Experiment A of the latent-merging paper (OpenReview ocEoHCrezd), with the answer key
as its judge unless another one is given.

Seeds. Greedy decoding: a seed draws the questions. With a temperature it seeds the sampling too. A
question that comes up under several seeds counts as one cluster in every interval.
"""

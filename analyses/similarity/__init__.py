"""How the merged stream lies between host and donor, block by block: `python -m analyses.similarity`.

Both parents and the merge read the same prompts. It is compared with merges of the same models in other
spaces (`--compare_with '[weights:lerp, logits:soft]'`). By block and alpha: midness, arc ratio and arc
deviation of the merged stream (per token, then averaged), and linear CKA of each two streams, rows being
tokens: debiased over all texts (minibatch U-statistic), and biased within each text, then averaged,
which is the published form. An ensemble of logits has no merged stream; for every space, table "output"
reports how far the next-token distributions lie from the parents' (KL, Jensen-Shannon divergence; nats).
Experiment B of the latent-merging paper (OpenReview ocEoHCrezd); `python -m analyses.spaces` does it for
several operators and reports whether the result is as published.
"""

"""Where the merged stream lies between host and donor, block by block: `python -m analyses.similarity`.

Both parents (host and donor) and the merge read the same prompts. `--compare_with '[weights:lerp,
logits:soft]'` adds merges of the same models in other spaces. The analysis reports for each block and
alpha: midness, arc ratio and arc deviation of the merged stream (per token, then averaged), and linear
CKA of each two streams. The rows of CKA are tokens. It is debiased over all texts (minibatch
U-statistic), and biased within each text and then averaged, which is the published form. An ensemble
of logits has no merged stream. For every space, table "output" reports the divergence of the
next-token distributions from those of the parents (KL and Jensen-Shannon divergence, nats). Experiment
B of the latent-merging paper (OpenReview ocEoHCrezd); `python -m analyses.spaces` does it for several
operators and reports whether the result is as published.
"""

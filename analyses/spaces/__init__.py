"""The same pair merged in latents, in weights and in logits, side by side: `python -m analyses.spaces`.

Latents and weights: midness and CKA of the merged stream with its parents', block by block. All three:
how far the merge's next-token distributions lie from its parents' (KL and Jensen-Shannon divergence,
nats). Experiment B of the latent-merging paper (OpenReview ocEoHCrezd): table "direction" says whether
latents lie nearer the midpoint and nearer the host than weights, as published for 7B models, here too.
"""

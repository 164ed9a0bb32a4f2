"""Which block, alpha and operator make a merge work best: `python -m analyses.layerwise`.

The analysis measures a grid of merges at one block each, on texts whose correct continuation is given:
loss, KL divergence from both parents, and position of the merged stream between host and donor.
`--n_questions` adds accuracy by generation. Host and donor run once for all merges. `--compare_with
'[weights:lerp, logits:soft]'` adds merges of the full models, which have no block. Experiment C of the
latent-merging paper (OpenReview ocEoHCrezd). Table "correlations" reports how well signals that need
no answer (`lm_merge.scoring.signals`) rank the merges of the grid.

With one donor, or donor weights that sum to 1, regmean is lerp at alpha = 1 / (1 + lambda_reg). Both
are measured, and they agree up to rounding. Each block is stored as a run of its own, so that a
stopped grid resumes block by block.

On a GPU a `batch_size` at its default (16) is replaced by as many texts as the free memory takes. The
first batch is small, so that the time left is known soon.
"""

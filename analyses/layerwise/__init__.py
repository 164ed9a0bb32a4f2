"""Which block, how much of the donor, by which operator: `python -m analyses.layerwise`.

A grid of merges at one block each, on texts whose correct continuation is given: loss, KL to both
parents, and where the merged stream ends between theirs; with `--n_questions` also accuracy by
generation. Host and donor run once for all merges. The grid is compared with merges of the full models,
which have no block (`--compare_with '[weights:lerp, logits:soft]'`). Experiment C of the latent-merging
paper (OpenReview ocEoHCrezd). Table "correlations" reports how well signals that
need no answer (`lm_merge.scoring.signals`) rank the merges of the grid.

With one donor, or donor weights that sum to 1, regmean is lerp at alpha = 1 / (1 + lambda_reg): the
two are measured both and agree to rounding. Each block alone is a run of its own that is found again
(`--layers '[20]'`), so a grid over blocks resumes block by block.
"""

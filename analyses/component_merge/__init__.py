"""Merges of fine-tuned models component by component: `python -m analyses.component_merge`.

Every update (what fine-tuning changed) is decomposed on its own data. The merge adds the components to
the base, each times its importance and one scale. Next to it: task arithmetic, TIES, DARE and the mean
of the models. Every method has its scale chosen on dev questions and is scored on test questions.
`update_trio` merges tiny-thinker and tiny-coder into tiny-instruct, `update_tms` two planted updates
of a toy model. Tables: "merges" (method, seed, scale, skill, value, low, high, n, recovery,
recovery_low, recovery_high, reason), "dev" (method, scale, value), "components" (update, seed, layer,
n_components, n_kept, norm_share) and, for the toy, "planted" (update, seed, feature, cosine, ratio).
"""

"""Weights as sums of parts that matter one input at a time: `python -m analyses.decomposition`.

Parts are rank-1 components. An experiment is a target and how it is decomposed, here from several
random starts at once. Tables: "metrics" (seed, step, metric, value), "importances" (importance of
every component on each feature alone), "columns" (columns of the target's and the components'
matrices), "published" (published values next to these). `summary.json` has a row for each seed:
experiment, preset, seed, solved, mmcs, ml2r, n_live, pattern_error_01, pattern_error_02,
mse_stochastic, ci_l0, faithfulness, steps, cpu_s; null where a target has no known answer.
"""

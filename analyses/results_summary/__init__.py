"""What many runs found, in one summary: `python -m analyses.results_summary`.

Reads the finished runs of `analyses.similarity_merging` and `analyses.rounds` (a sweep's cells among
them), by their records. Runs whose configurations differ are systems of their own, with what differs in
their names.
Tables: "accuracy" (target, system, kind, method, accuracy_frac, low, high, n), "systems" (system, kind,
mean_accuracy, low, high, n_targets, rank), "gains" (each system over the own model and over the best
source picked on dev and on test, the oracle), "failures" (runs that failed, with target and error).
`summary.json` has the rows of "systems". `summary.md` has the tables of systems and gains.
"""

"""Which coefficients and methods recover the worst task best: `python -m analyses.adapter_search`.

Merges of adapters are proposed one after another; each trial is a run of `analyses.adapters` on the dev
split, so a search that was stopped goes on with the same trials. Merges are ranked by a score of the
recoveries, ties by their mean; the best one is then measured on test, which no choice has seen.
Tables: "trials", "recoveries" (one row a trial and task), "best" (the best merge on test).

`space` names what is varied: `coefficient.ADAPTER` (its coefficient in all modules),
`coefficient.ADAPTER.TEXT` (in modules whose path contains the text), `recipe.FIELD` (of the recipe).

`summary.json`: rows {trial, parameters, recoveries, score, status}, the last one the best trial's, with
status "best"; parameters and recoveries are JSON texts.
"""

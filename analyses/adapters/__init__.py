"""How much of each task's gain a merge of adapters keeps: `python -m analyses.adapters`.

One merge is evaluated on every task next to the base and each task's expert (the adapter alone), on the
same examples. Recovery is (merged - base) / (expert - base): 0 the base, 1 the expert, below 0 damage.
Tables: "recovery" (one row a task, with intervals of both gains and the reason where recovery is
undefined), "replies" (the merge's), "sensitivity" (which block and which adapter carry recovery),
"coefficients", "seeds" (of random methods). Coefficients that the recipe has fitted, `{fit: {...}}`, are
fitted first, on the dev split; the run's `coefficients.json` is a file that recipes read.

`summary.json`: rows {task, metric, base, expert, merged, recovery, n, low, high, split}; low and high
are the 95 % interval of recovery, null where the interval of the expert's gain contains 0.
"""

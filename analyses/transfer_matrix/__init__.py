"""How well each classifier does on each language: `python -m analyses.transfer_matrix`.

Every source is loaded once and classifies the dev and test texts of every target. Tables: "transfer"
(source, target, partition, accuracy_frac, low, high, n), and, for selection by measured transfer,
`similarity_from_transfer.csv`: the dev accuracies as a square table, one row a target. Predicted labels
of every text are kept with each source's own run. `summary.json` has a row for each source: source,
own_accuracy, mean_elsewhere with low and high (95 %, over targets), best_target, n_targets.
"""

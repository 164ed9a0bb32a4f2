"""Sources chosen for one target, merged or voting: `python -m analyses.similarity_merging`.

Sources and weights come from similarity to the target (a table of cosines, or measured transfer), or are
uniform, random, all, or given by hand. The result is compared with the target's own model and with each
chosen source. Tables: "sources" (target, source, similarity, weight) and "accuracy" (target, weights,
method, system, kind, seed, partition, accuracy_frac, low, high, n). `summary.json` has a row for each
system on the test texts: target, weights, method, system, kind, seed, accuracy_frac, low, high, n.
"best_source_test" picks by the target's test and is a labelled oracle; "best_source_dev" picks on dev.
"""

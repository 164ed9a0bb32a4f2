"""Which languages' classifiers to merge for a language without one: `python -m analyses.languages`.

A study in one command, on intents of MASSIVE: an encoder of character n-grams is trained on parallel
utterances, one classifier a locale is fine-tuned from it, every classifier is measured on every locale,
and for each target its most similar sources are merged or vote. It goes on where it was stopped.

Tables: "transfer" and "accuracy" (system, target, seed, partition, accuracy_frac, low, high, n),
"sources" (target, source, similarity, weight), "systems" (`summary.json`), "contrasts" (each system
against the five most similar sources weighted by cosine, over targets). `summary.json`: rows of system,
mean_accuracy, low, high (95 %, over targets), n_targets, wins (targets on which the system is better
than top5_cosine), p_holm (Wilcoxon against top5_cosine, Holm over systems).
"""

"""Classifiers trained and merged in rounds for one target: `python -m analyses.rounds --target sw-KE`.

The sources that are most similar to the target start from one base, are trained for some epochs, merged,
and each takes the merge (or a part of it) back. A run that was stopped goes on after the last epoch.
Tables: "monitor" (epoch, locale, loss, dev_accuracy, learning_rate, seconds, texts_per_second,
peak_memory_gb, peak_device_gb, free_disk_gb; of the run that trained the epoch), "merges" (epoch, score,
accepted, reason, dev_before, dev_after, dev_later: the sources' mean `effect_after` epochs later),
"sources", "accuracy" (target, system, partition, accuracy_frac, low, high, n): the last models merged,
and each of them. `summary.json` has the rows of "accuracy" on the test texts.
"""

"""One source fine-tuned on MASSIVE: `python -m analyses.finetune --locale sw-KE --data DATA/massive`.

Writes a classifier to `<out>/<base>_massive_k_<locale>`, a pattern that other commands read as sources.
An interrupted training goes on from its last epoch. Tables: "epochs" (epoch, loss, dev_accuracy,
learning_rate), "accuracy" (locale, partition, accuracy_frac, low, high, n). `summary.json` has the rows
of "accuracy".
"""

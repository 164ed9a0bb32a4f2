"""Does an encoder agree with human scores of sentence similarity: `python -m analyses.encoder_check`.

Spearman's correlation of human scores with the cosine of mean-pooled embeddings (padding left out), on
the base, on sources and on merges. Table "similarity" and `summary.json`: model, spearman, low, high
(95 %, bootstrap over pairs), n.
"""

"""Training models that are then merged: fine-tuning of classifiers, memory and disk."""

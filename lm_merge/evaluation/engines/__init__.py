"""Evaluation frameworks that others keep, run on a recipe: lm-evaluation-harness and Inspect AI."""

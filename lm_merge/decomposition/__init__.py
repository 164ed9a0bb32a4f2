"""Weights, and updates of weights, as sums of parts that matter one input at a time."""

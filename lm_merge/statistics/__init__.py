"""Intervals, tests and aggregates, each defined once."""

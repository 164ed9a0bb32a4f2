"""Analyses: one question a file, each a command `python -m analyses.<name>`."""

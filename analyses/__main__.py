"""The list of analyses: `python -m analyses`."""

from analyses.running.listing import listing

print(listing())

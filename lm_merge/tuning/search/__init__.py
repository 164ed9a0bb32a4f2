"""Searches for coefficients and methods: a space, scores, and strategies that propose the next trial."""

"""Pairs of contexts, an original and a changed one, with the answer under each."""

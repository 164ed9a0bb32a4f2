"""Decoding with caches of fixed size: the step of a model or a merge, recorded once and replayed."""

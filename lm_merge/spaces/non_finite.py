"""The error of a merge whose result is no number."""


class NonFiniteMerge(ArithmeticError):
    """A merged state, or logits, with values that are NaN or infinite."""

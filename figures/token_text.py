"""Tokens as they can be read in a figure."""


def visible(token: str) -> str:
    """A token with its white space shown, and angle brackets that are not taken for HTML."""
    shown = token.replace("\n", "⏎").replace(" ", "·")
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

"""Models to decompose: toy models with a known answer, and language models."""

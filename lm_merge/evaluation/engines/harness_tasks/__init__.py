"""Tasks of our own for lm-evaluation-harness: YAML files, and the functions they name."""

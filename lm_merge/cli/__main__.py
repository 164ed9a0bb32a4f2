"""`python -m lm_merge.cli` is `lm-merge`."""

from lm_merge.cli import main

main()

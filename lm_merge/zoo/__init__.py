"""Bundled tiny models, the tasks they solve, and the script that trains them."""

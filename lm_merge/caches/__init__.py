"""Key-value caches of a merge."""

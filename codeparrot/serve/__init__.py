"""A server of completions for editors, on one checkpoint."""

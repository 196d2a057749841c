"""The model: any causal language model of transformers, its loss, and what the hardware does best."""

IGNORED = -100
"""Label of a token that is not predicted (the value that transformers and torch use)."""

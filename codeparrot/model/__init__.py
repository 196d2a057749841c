"""The model: any causal language model of transformers, its loss, and the peak speed of the hardware."""

IGNORED = -100
"""Label of a token that is not predicted (as in transformers and torch)."""

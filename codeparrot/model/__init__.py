"""The model: any causal language model of transformers, its loss, and what the hardware does best."""

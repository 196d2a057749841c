"""The endless, deterministic stream of token windows that a model is trained on."""

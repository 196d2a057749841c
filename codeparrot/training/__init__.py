"""The live parts of the training loop."""

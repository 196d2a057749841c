"""Copies of a run's checkpoints on another disk or an object store (`checkpoint.mirror`), and the way back from there."""

"""The formats of a run on the disk."""

"""Runs side by side: which there are, how they are related, and how one begins at a checkpoint of another."""

"""Run generated programs where they can reach nothing."""

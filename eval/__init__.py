"""Measure a model (imported as codeparrot.eval)."""

"""Recipes of `codeparrot corpus build`: what is removed, and in which order."""

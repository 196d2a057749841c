"""Recipes, one YAML each; they are part of the package so that `codeparrot quickstart` works from a wheel."""

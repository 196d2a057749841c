"""Vectors of code from any checkpoint, and search with them."""

"""Exact and near duplicates: shingles, signatures, bands, pairs (pairs.py), and which copy is kept (choice.py)."""

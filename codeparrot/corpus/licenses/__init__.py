"""Licences: what is declared, as SPDX expressions (names.py, texts.py), and what may stay (rules.py)."""

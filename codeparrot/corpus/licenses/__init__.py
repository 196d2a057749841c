"""Licences: what a source declares, as SPDX expressions (names.py, texts.py), and which files may stay (rules.py)."""

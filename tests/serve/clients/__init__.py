"""Requests of editors' clients, built as each client builds them, and answers read as it reads them.

Each file is one client; docs/editors.md has the settings that make it ask so.
"""

"""Completions over HTTP, in the forms that editors ask for them."""

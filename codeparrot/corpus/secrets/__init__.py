"""Keys, passwords, e-mail and IP addresses, and the placeholders that replace them (redaction.py)."""

"""Keys, passwords, e-mail and IP addresses, and the placeholders in their place (redaction.py)."""

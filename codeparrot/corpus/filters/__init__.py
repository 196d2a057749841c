"""What a file must satisfy by itself (rules.py), with the settings in thresholds.py."""

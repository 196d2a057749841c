"""What a file must satisfy by itself: a file for each filter, all of them in registry.py, judging in rules.py."""

"""What a file must satisfy by itself: one file per filter; registry.py lists them and rules.py judges by them."""

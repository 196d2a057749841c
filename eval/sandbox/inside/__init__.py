"""What runs inside the sandboxes. Only the standard library is there: nothing here imports the rest of the project."""

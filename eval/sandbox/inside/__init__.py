"""Code that runs inside the sandboxes. They have only the standard library, so nothing here imports the rest of the project."""

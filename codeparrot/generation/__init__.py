"""From a prompt to completions."""

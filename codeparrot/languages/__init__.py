"""Programming languages: their names, how a file's language is told, what their syntax looks like."""

"""codeparrot: pretrain a language model for code, from raw source files to completions.

Nothing is imported here, so that `codeparrot --help` starts at once.
"""

__version__ = "0.2.0"

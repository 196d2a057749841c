"""Train and report a byte-level BPE for code (imported as codeparrot.tokenizer)."""

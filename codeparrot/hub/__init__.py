"""Reading from the Hub: the client (client.py); models, tokenizers, corpora and runs as local folders (fetch.py)."""

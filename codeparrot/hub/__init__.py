"""Reading from the Hub: the client (client.py), and models, tokenizers, corpora and runs as folders here (fetch.py)."""

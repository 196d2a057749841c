"""A checkpoint for other programs: one file for llama.cpp, or a folder for sentence-transformers (sentence_folder.py).

Read in this order: command.py, families.py (weights and settings), vocabulary.py (the tokenizer), origin.py (what a file says
of itself), writing.py. What reads such a file back is model/gguf.py, for loading.py.
"""

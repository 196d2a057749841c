"""Problems of benchmarks in a document (index.py)."""

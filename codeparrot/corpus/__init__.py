"""Raw files to a clean, deduplicated, documented corpus.

Read in this order: documents.py (the forms of a document), build.py (the command), pipeline.py (the four phases and their
tasks); then what they call: sources.py and what it opens (installed, files, tables, hub), reading.py with judge.py, filters.py
and segments.py, duplicates.py with near_duplicates.py, signatures.py and shingles.py, clean.py, shards.py, split.py,
statistics.py, card.py, report.py.
"""

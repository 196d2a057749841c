"""Raw files to a clean, deduplicated, documented data set in Parquet.

To read it: build.py (the command), pipeline.py (the stages in order), then a file for each stage: sources.py and what it
opens (installed, files, tables, hub), judge.py and filters.py, spool.py and shards.py, split.py, card.py, report.py.
"""

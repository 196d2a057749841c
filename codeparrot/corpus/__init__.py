"""Raw files to a clean, deduplicated, documented corpus.

Read in this order: documents.py (the forms of a document), build.py (the command), pipeline.py (the four phases and their
tasks, work.py); then the phases: sources/ and reading.py with judge.py, which asks filters/ and licenses/, and segments.py,
which stores what was read; duplicates/; clean.py with stage.py, which asks contamination/ and secrets/; shards.py, split.py,
statistics.py. registry.py lists the filters, stages and sources: a new one takes a file and a line. report/ writes what people
read about a corpus; cluster/ runs the same tasks on SLURM and Ray.
"""

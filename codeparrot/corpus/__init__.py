"""Raw files to a clean, deduplicated, documented corpus.

Read in this order: documents.py (the forms of a document), build.py (the command), pipeline.py (the four phases and their
tasks, work.py); then the phases: sources/ and reading.py with judge.py, which asks filters/ and licenses/, and segments.py,
where what was read lies; duplicates/; clean.py with stage.py, which asks contamination/ and secrets/; shards.py, split.py,
statistics.py. registry.py lists the filters, stages and sources: a new one is a file and a line. report/ is what people read of
it, cluster/ runs the same tasks on SLURM and Ray.
"""

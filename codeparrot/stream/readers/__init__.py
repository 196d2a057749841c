"""The one set of readers of data that training, the tokenizer and the corpus share.

Which files are data:
- A file's ending says its format: `.parquet`, or JSON lines: `.jsonl` and `.json`, also packed (`.gz`, `.zst`).
- A file or a glob that the user names is taken literally. A glob passes over hidden files and those in NO_DATA.
- Below a folder, every data file at any depth is read, except those in NO_DATA (what tools write beside data, such as
  dataset_info.json) and those whose own name, or a folder's name between the named folder and the file, begins with `.` or
  `_`: hidden, unfinished, or not data.
- Links count as what they lead to. Each real folder is entered once, by its real path if it has one, so loops end. A link to
  nothing and a folder that cannot be listed are errors: data would be missing.

Which split a file of a folder belongs to: the first word of its name that names a split (`train-00000-of-00008.parquet`,
`python.valid.jsonl`), else that of the nearest folder below the named one (`test/0.parquet`). SPLITS lists the words, which are
those of `datasets`. As soon as one file names its split the folder is divided, and files that name none belong to no split.
`test` stands in for `valid` if nothing else does, and never for `train`. A folder in which no file names a split is not
divided: every split is the whole. The same holds for files and globs that the user names.

In which order: by path, compared character by character, never as the file system lists them.

Every error names the file, the place in it (a line from 1, a row group or a row from 0) and what to do. Nothing is skipped
silently: a truncated packed file, text that is not UTF-8 or a row without the text is `Damaged`. That ends a command, or is
left out and counted (stream/losses.py). The corpus counts such rows as removed; a bad file ends it.

Cost: rows are streamed. One row group's columns, or one block of lines, are held at once.

Read in this order: walk.py (what lies below a folder), folder.py (which files are data), rows.py (what every format shares),
jsonl.py, parquet.py, hub.py.
"""

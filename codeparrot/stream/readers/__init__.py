"""The one set of readers of data that training, the tokenizer and the corpus share.

Which files are data:
- A file's ending says its format: `.parquet`, or JSON lines: `.jsonl` and `.json`, also packed (`.gz`, `.zst`).
- A file that the user names is taken literally.
- Below a folder, every data file at any depth is read, except those in NO_DATA (what tools write beside data, such as
  dataset_info.json), those whose own name, or a folder's name between the named folder and the file, begins with `.` or
  `_` (hidden, unfinished, or not data), and those in the `removed` folder of a corpus, beside its statistics.json. Tables of
  other kinds (`.arrow`, `.jsonl.xz`, `.JSONL`) are left out, which is said once.
- A glob stands for those that a folder would hold and that fit it. What it spells itself is taken: `_parts/*.jsonl`, `.*`.
- Links count as what they lead to. Each real folder is entered once, by its real path if it has one, so loops end. A link to
  nothing and a folder that cannot be listed are errors: data would be missing.

Which split a file of a folder belongs to: the first word of its name that names a split (`train-00000-of-00008.parquet`,
`python.valid.jsonl`), else that of the nearest folder below the named one (`test/0.parquet`). SPLITS lists the words, which are
those of `datasets`. As soon as one file names its split the folder is divided. Files that name none then belong to no split,
which is said once. `test` stands in for `valid` if nothing else does, and never for `train`. A glob over train files and those
of another split is divided in the same way; any other is what the user chose, like a file.

What is not divided has no split of its own: whoever names it for training or for validation gets the whole. So it has no part
to validate on; `corpus build` and `corpus tokenize --valid_fraction` make one. Training refuses to validate on files that it
trains on.

In which order: by path, compared character by character, never as the file system lists them.

Every error names the file, the place in it (a line from 1, a row group or a row from 0) and what to do. Nothing is skipped
silently: a truncated packed file, text that is not UTF-8 or a row without the text is `Damaged`. That ends a command, or is
left out and counted (stream/losses.py). `corpus build` always counts such rows as removed.

At an address (`s3://bucket/folder`) all of this holds as on the disk, except that nothing there is a link. The same files give
the same rows in the same order.

Cost: rows are streamed. One row group's columns, or one block of lines, are held at once.

Read in this order: walk.py (what lies below a folder), globs.py, folder.py (which files are data), rows.py (what every format
shares), jsonl.py, parquet.py, hub.py; and for addresses remote.py, patience.py, ranges.py.
"""

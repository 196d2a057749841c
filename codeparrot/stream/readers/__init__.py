"""The one set of readers of data that training, the tokenizer and the corpus share.

Which files are data:
- A name's ending says what a file is: `.parquet`, or JSON lines: `.jsonl` and `.json`, also packed (`.gz`, `.zst`).
- A file or a glob that is named is read as it is named. A glob passes over hidden files, and over the ones in NO_DATA.
- Of a folder, every data file below it is read, at any depth, but for those in NO_DATA (what tools write beside data, such as
  dataset_info.json) and those whose name, or whose folder's name below the one that was named, begins with `.` or `_`: hidden,
  unfinished, or not the data's own.
- Links count as what they lead to. Each real folder is entered once, by its real path where there is one, so loops end. A link
  to nothing and a folder that cannot be listed are errors: data would be missing.

Which split a file is, of a folder: the first word of its name that is a split's (`train-00000-of-00008.parquet`,
`python.valid.jsonl`), else that of the nearest folder below the one that was named (`test/0.parquet`). SPLITS lists the words,
which are those of `datasets`. As soon as one file says its split the folder is divided, and files that say none belong to no
split. `test` stands in for `valid` where nothing else does, and never for `train`. A folder in which no file says a split is
not divided: every split is the whole. So are files and globs that are named.

In which order: by path, compared character by character. Never by how a folder happens to be listed.

Every error names the file, the place in it (a line from 1, a row group or a row from 0) and what to do. Nothing is skipped in
silence: a packed file that was cut, text that is no UTF-8 or a row without the text is an error. (The corpus counts such rows
as removed and goes on; a file that cannot be read is an error there too.)

Cost: rows are streamed. What is held is one row group's columns, or one block of lines.

Read in this order: walk.py (what lies below a folder), folder.py (which files are data), rows.py (what every format shares),
jsonl.py, parquet.py, hub.py.
"""

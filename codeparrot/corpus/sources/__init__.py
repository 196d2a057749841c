"""Where a corpus comes from: units of files or rows from folders, repositories, archives, tables and the Hub (opening.py)."""

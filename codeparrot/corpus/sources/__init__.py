"""What a corpus is made of: units of files or rows from folders, repositories, archives, tables and the Hub (opening.py)."""

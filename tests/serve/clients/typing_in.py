"""A cursor in a file, as editors hold it."""

LINES_BEFORE = [
    "import os",
    "",
    "",
    "def size_of(folder):",
    '    """Return the size of the files in a folder, in bytes."""',
    "    total = 0",
]
LINE = "    for name in os.listd"
LINES_BEHIND = ["        total += os.path.getsize(os.path.join(folder, name))", "    return total"]
PREFIX = "\n".join(LINES_BEFORE) + "\n" + LINE
SUFFIX = "\n" + "\n".join(LINES_BEHIND) + "\n"
OTHER = "def is_small(path):\n    return os.path.getsize(path) < 1000\n"

"""A pair: a function without its docstring, and the docstring. The columns of a corpus, and some more."""

from codeparrot.corpus.documents import CONTENT, LICENSE, PATH, REPO_NAME, SIZE, UNKNOWN_LICENSE

NAME = "name"
SIGNATURE = "signature"
DOCSTRING = "docstring"
SUMMARY = "summary"
LINE = "line"

TEXTS = {
    REPO_NAME: "repository or distribution that the file comes from",
    PATH: "path of the file in it",
    LINE: "line of the file at which the function begins, decorators included",
    SIZE: f"bytes of `{CONTENT}` as UTF-8",
    CONTENT: "the function without docstrings, its own and those inside, and without the indentation of its first line",
    LICENSE: f"licence of the file as an SPDX expression, or `{UNKNOWN_LICENSE}`",
    NAME: "name of the function, with the classes and functions around it: `Reader.read`",
    SIGNATURE: "in one line, without decorators and comments",
    DOCSTRING: "the docstring without its indentation",
    SUMMARY: "its first sentence, in one line",
}
"""What each column holds, in the order of the columns."""
NUMBERS = (SIZE, LINE)
"""Columns of whole numbers; the others are texts."""

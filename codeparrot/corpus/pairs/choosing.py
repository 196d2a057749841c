"""Which functions become pairs.

The rules are those of CodeSearchNet (arXiv:1909.09436) and CodeXGLUE (arXiv:2102.04664), each with a count of its own: the
first rule that a function breaks removes it. All but `duplicate` look at one function alone.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from codeparrot.corpus.definitions import Definition, definitions
from codeparrot.corpus.documents import CONTENT, LICENSE, PATH, REPO_NAME, SIZE
from codeparrot.corpus.pairs.columns import DOCSTRING, LINE, NAME, SIGNATURE, SUMMARY
from codeparrot.corpus.sentences import first_sentence

SYNTAX, DUPLICATE = "syntax", "duplicate"
MOST_FOREIGN = 0.1
"""Share of the letters of a first sentence that may be other than a to z."""

_WORD = re.compile(r"[^\W\d_]+")


class Limits(NamedTuple):
    min_words: int
    """Of the first sentence."""
    min_statements: int
    """Of the body, nested ones included."""
    max_characters: int
    """Of the code."""

    def rules(self) -> dict[str, str]:
        """Return every reason for leaving something out, in the order of the checks, with what it means in words."""
        return {
            SYNTAX: "a file that is no Python 3",
            "no_docstring": "a function without a docstring",
            "test": "a test: by its name, its class or its file",
            "special": "a name with two underscores at both ends, such as `__init__`",
            "no_description": "a docstring that only lists parameters, results or examples",
            "short_description": f"a first sentence of fewer than {self.min_words} words",
            "not_english": f"a first sentence with more than {MOST_FOREIGN:.0%} of its letters outside of a to z",
            "long": f"code of more than {self.max_characters:,} characters",
            "trivial": f"a body of fewer than {self.min_statements} statements",
            DUPLICATE: "the code of another pair, white space apart; of two in different splits, that in valid stays",
        }


def chosen(document: dict[str, Any], limits: Limits) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what becomes of each function of a document: the reason for which it is left out, or "", and the pair.

    A file that does not parse yields one reason. What is left out has no pair.
    """
    found = definitions(document[CONTENT])
    if found is None:
        yield SYNTAX, {}
        return
    in_tests = _is_test_file(document[PATH])
    for each in found:
        if each.kind == "function":
            summary = first_sentence(each.docstring or "")
            reason = _reason(each, summary, limits, in_tests)
            yield reason, {} if reason else _pair(document, each, summary)


def _pair(document: dict[str, Any], function: Definition, summary: str) -> dict[str, Any]:
    return {
        **{name: document[name] for name in (REPO_NAME, PATH, LICENSE)},
        LINE: function.start,
        SIZE: len(function.body.encode()),
        CONTENT: function.body,
        NAME: function.name,
        SIGNATURE: function.signature,
        DOCSTRING: function.docstring,
        SUMMARY: summary,
    }


def _reason(function: Definition, summary: str, limits: Limits, in_tests: bool) -> str:
    own = function.name.rpartition(".")[2]
    if not function.docstring:
        return "no_docstring"
    if in_tests or any(_is_test(name) for name in function.name.split(".")):
        return "test"
    if own.startswith("__") and own.endswith("__"):
        return "special"
    if not summary:
        return "no_description"
    if len(_WORD.findall(summary)) < limits.min_words:
        return "short_description"
    if not _is_english(function.docstring, summary):
        return "not_english"
    if len(function.body) > limits.max_characters:
        return "long"
    return "trivial" if _num_statements(function.body) < limits.min_statements else ""


def _is_test(name: str) -> bool:
    return name.lower().startswith("test") or name.endswith(("Test", "TestCase", "Tests")) or name in ("setUp", "tearDown")


def _is_test_file(path: str) -> bool:
    *folders, file = PurePosixPath(path).parts or ("",)
    stem = file.removesuffix(".py")
    named = stem.startswith("test_") or stem.endswith(("_test", "_tests")) or stem in ("test", "tests", "conftest")
    return named or any(folder.lower() in ("test", "tests", "testing") for folder in folders)


def _is_english(docstring: str, summary: str) -> bool:
    letters = "".join(_WORD.findall(summary))
    foreign = sum(not letter.isascii() for letter in letters)
    return foreign <= MOST_FOREIGN * len(letters) and _is_text(docstring)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # an escape made half of a surrogate pair, which no file can hold
        return False
    return True


def _num_statements(body: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(body)
        except (SyntaxError, RecursionError, MemoryError):  # code of a string that lost its indentation, at worst
            return 0
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) - 1

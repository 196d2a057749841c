"""Whether a text is a program: in Python as this interpreter reads it, else as tree-sitter does. None of it is run."""

import symtable
import warnings
from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter
from codeparrot.corpus.filters.text import Text
from codeparrot.languages.syntax import PYTHON, syntax_of
from codeparrot.languages.trees import reads


def is_python(content: str) -> bool:
    """Whether the text parses, and its names have scopes (no argument twice, no `nonlocal` in a module).

    A text with nesting too deep for the interpreter, null bytes or numbers with too many digits is not a program. Building the
    symbol table takes half the time of building a tree of Python objects, and none of its memory.
    """
    with warnings.catch_warnings():
        # Warnings such as "\d" in a string that is not raw: such programs work, and one line per file would be noise.
        warnings.simplefilter("ignore")
        try:
            symtable.symtable(content, "<document>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            return False
    return True


@dataclass(frozen=True)
class Limits:
    check_syntax: bool = False
    """Whether a file must parse: as Python 3, as the running interpreter reads it, or by the grammar of its language."""


def passes(text: Text, limits: Limits) -> bool:
    if text.language == PYTHON:
        return is_python(text.content)
    return reads(text.parsed, text.syntax)


def applies(language: str | None) -> bool:
    return language == PYTHON or bool(syntax_of(language).grammars)


FILTER = Filter(
    Limits,
    passes,
    order=110,
    rule="not Python 3; in other languages, what the grammar fails on in more than a few percent",
    is_on=lambda limits: limits.check_syntax,
    applies=applies,
)

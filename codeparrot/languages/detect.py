"""The language of a document, from its name and its text.

The first of these that tells one: the whole name of the file, its ending, the program of a `#!` line, an editor's mode line,
how the text begins, and, for a text without a name, its lines (lines.py). Where languages share an ending, the text decides
(shared.py). Only the beginning of a text is read, each rule once over it: time is linear, also for text made to delay it.
Cost: 1 microsecond where the name decides, 50 to 300 where the text does (benchmarks/languages.py).
"""

import re
from collections.abc import Iterator

from codeparrot.languages.lines import guess
from codeparrot.languages.names import LANGUAGES, canonical
from codeparrot.languages.shared import DECISIVE, choose

LOOKED = 20_000
"""Characters of a text that are read."""
MODE_LINES = 5
MODE_LINE_CHARACTERS = 400
LONGEST_SUFFIX = 20

_BY_FILENAME = {name: each.name for each in LANGUAGES.values() for name in each.filenames}
_STEMS = {name: _BY_FILENAME[name] for name in ("Dockerfile", "Containerfile", "Makefile", "makefile", "GNUmakefile")}
"""Names that people add an ending to: Dockerfile.test."""
_BY_PROGRAM = {name: each.name for each in LANGUAGES.values() for name in each.interpreters}
_TEMPLATES = (".in", ".tmpl", ".template", ".example", ".sample", ".dist")
"""Endings after the real one."""
_OPENINGS = (("<?xml", "xml"), ("<?php", "php"), ("<!doctype html", "html"), ("<html", "html"))
_SHELL_STARTS = re.compile(r"^[ \t]*+(?:eval '\(?)?+exec[ \t]++(?:/usr/bin/env[ \t]++)?+(\w++)", re.MULTILINE)
"""A shell that hands the file over to another interpreter: `exec tclsh "$0"`."""
_EMACS = re.compile(r"-\*-[ \t]*+(?:[^\n]*?\bmode:[ \t]*+)?([\w+#-]++)[ \t]*+(?:;[^\n]*?)?-\*-")
_VIM = re.compile(r"\b(?:vim?|ex):[^\n]*?\b(?:ft|filetype|syntax)=([\w+#-]++)")


def _by_suffix() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for each in LANGUAGES.values():
        for suffix in each.suffixes:
            found.setdefault(suffix, []).append(each.name)
    exact = {suffix: tuple(names) for suffix, names in found.items()}
    return {**{suffix.lower(): names for suffix, names in exact.items()}, **exact}


_BY_SUFFIX = _by_suffix()


def language_of(path: str, content: str, by_lines: bool = True) -> str | None:
    """Return the canonical name of the language that a document is written in; None if nothing tells it.

    Args:
        path: where the file was, or anything that has no ending.
        content: its text; may be empty, then the name alone tells.
        by_lines: whether the lines of a text may tell it where nothing else does; of all ways the least sure.
    """
    name = path.rpartition("/")[2]
    for template in _TEMPLATES:
        name = name.removesuffix(template) or name
    if found := _BY_FILENAME.get(name):
        return found
    _, dot, ending = name.rpartition(".")
    suffix = dot + ending[:LONGEST_SUFFIX]
    candidates = _BY_SUFFIX.get(suffix) or _BY_SUFFIX.get(suffix.lower(), ())
    if len(candidates) == 1 and suffix.lower() not in DECISIVE:
        return candidates[0]
    head = content[:LOOKED]
    if candidates:
        return _of_program(head) or _among(candidates, mode_of(head)) or choose(suffix.lower(), candidates, head)
    if found := _STEMS.get(name.partition(".")[0]) if dot else None:
        return found
    if found := _of_program(head) or mode_of(head) or _of_opening(head):
        return found
    return guess(head) if by_lines and not (dot and not ending.isdigit()) else None


def _among(candidates: tuple[str, ...], name: str | None) -> str | None:
    return name if name in candidates else None


def _of_program(head: str) -> str | None:
    """Return the language of the program that a `#!` line names."""
    if not head.startswith("#!"):
        return None
    words = head[2:MODE_LINE_CHARACTERS].partition("\n")[0].split()
    program = words[0].rpartition("/")[2] if words else ""
    if program == "env":
        program = next((word.rpartition("/")[2] for word in words[1:] if not word.startswith("-") and "=" not in word), "")
    found = _program(program)
    if found == "shell":
        started = _SHELL_STARTS.search(head[:MODE_LINE_CHARACTERS])
        found = (started and _program(started[1])) or found
    return found


def _program(name: str) -> str | None:
    return _BY_PROGRAM.get(name) or _BY_PROGRAM.get(name.rstrip("0123456789.-"))


def mode_of(head: str) -> str | None:
    """Return the language that a line for Emacs or Vim names, if the table has it."""
    for line in _mode_lines(head):
        for found in (_EMACS.search(line), _VIM.search(line)):
            name = canonical(found[1]) if found else ""
            if name in LANGUAGES:
                return name
    return None


def _mode_lines(head: str) -> Iterator[str]:
    for line in head.split("\n", MODE_LINES)[:MODE_LINES]:
        if "-*-" in line or ":" in line:
            yield line[:MODE_LINE_CHARACTERS]


def _of_opening(head: str) -> str | None:
    start = head[:200].lstrip("\ufeff \t\r\n").lower()
    return next((language for opening, language in _OPENINGS if start.startswith(opening)), None)

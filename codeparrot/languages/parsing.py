"""Parsing in a process of its own, which may die without harm.

Parsers are C, and the texts of the world are hostile: 5 kB of `a=>` take a gigabyte in C's grammar, and twice as many four, in
a single step that nothing can stop. So each process that judges texts has one that parses for it, with a limit on its memory.
If that one dies over a text, a new one tries again, and then the text counts as no program. Cost: about 0.1 ms a text.
"""

import os
import select
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import IO

from codeparrot.errors import CodeparrotError
from codeparrot.languages.syntax import syntax_of
from codeparrot.languages.trees import NoGrammar, Parsed, parsed_here

MEMORY = 768 * 2**20
"""Bytes of addresses of the process that parses; a program of 1 MB needs about 50 MB, and some grammars leak."""
SECONDS = 300
"""For one text, in case a parser never ends; the work that is allowed takes seconds."""
REMEDY = "pip install 'codeparrot[corpus]'"

_REQUEST = struct.Struct("<II")
_ANSWER = struct.Struct("<Bqqq")
_FOUND, _NOTHING, _NO_GRAMMAR = range(3)


def parsed(encoded: bytes, language: str) -> Parsed | None:
    """Return what the grammars of a language make of a text; None: they come to no end with it within the bounds.

    Raises:
        CodeparrotError: tree-sitter or a grammar is not installed.
    """
    for _ in range(2):
        answer = _ask(_parser(os.getpid()), language.encode(), encoded)
        if answer is None:
            _parser.cache_clear()
            continue
        status, *numbers = answer
        if status == _NO_GRAMMAR:
            raise CodeparrotError(f"tree-sitter-language-pack has no grammar of {language}; {REMEDY}")
        return Parsed(*numbers) if status == _FOUND else None
    return None


@cache
def _parser(pid: int) -> "subprocess.Popen[bytes]":
    """Return the process that parses for this one; a fork of this one has another number, and needs another."""
    if not (find_spec("tree_sitter") and find_spec("tree_sitter_language_pack")):
        raise CodeparrotError(f"filters by syntax need tree-sitter; {REMEDY}")
    code = f"import sys; sys.path[:] = {sys.path!r}; from codeparrot.languages.parsing import serve; serve()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", code], bufsize=0, **pipes)


def _ask(process: "subprocess.Popen[bytes]", language: bytes, encoded: bytes) -> tuple[int, ...] | None:
    """Return the answer of a process; None if it died."""
    assert process.stdin
    assert process.stdout
    with suppress(BrokenPipeError):
        request = memoryview(_REQUEST.pack(len(language), len(encoded)) + language + encoded)
        while request:
            request = request[process.stdin.write(request) :]
        waiting = select.poll()
        waiting.register(process.stdout, select.POLLIN)
        answer = process.stdout.read(_ANSWER.size) if waiting.poll(1000 * SECONDS) else b""
        if len(answer) == _ANSWER.size:
            return _ANSWER.unpack(answer)
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    return None


def serve() -> None:
    """Answer requests until their end: the process that asks has ended."""
    _limit_itself()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while head := requests.read(_REQUEST.size):
        name, size = _REQUEST.unpack(head)
        language, encoded = requests.read(name).decode(), requests.read(size)
        if len(encoded) < size:
            return
        _answer(answers, language, encoded)


def _answer(answers: IO[bytes], language: str, encoded: bytes) -> None:
    try:
        found = parsed_here(encoded, syntax_of(language))
    except NoGrammar:
        answer = _ANSWER.pack(_NO_GRAMMAR, 0, 0, 0)
    else:
        answer = _ANSWER.pack(_FOUND, *found) if found else _ANSWER.pack(_NOTHING, 0, 0, 0)
    answers.write(answer)
    answers.flush()


def _limit_itself() -> None:
    # An interrupt is for the process that asks: without an answer it would take the text for no program.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(ImportError, ValueError, OSError):  # no such module or limit outside of Linux
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

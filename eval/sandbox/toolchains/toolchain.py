"""What the sandbox must know of a language: its tools, and how program and test become processes (inside/toolchain.py)."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Translated
from codeparrot.eval.sandbox.inside.toolchain import NUMBER, Bounds, Steps
from codeparrot.languages.names import LANGUAGES

__all__ = ["NUMBER", "ONE_HEAP", "Bounds", "Language", "Parts", "Steps", "Toolchain", "binds_of", "find_program", "version_of"]

HEADERS = "/headers"
"""Where a sandbox sees what was prepared for its language."""


ONE_HEAP = (("MALLOC_ARENA_MAX", "1"),)
"""Of the environment: glibc would reserve 64 MiB of address space for each thread, and memory_bytes bounds that."""


@dataclass(frozen=True)
class Parts:
    """Steps without their bounds."""

    run: tuple[str, ...]
    source: str = ""
    build: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    def steps(self, bounds: Bounds) -> Steps:
        return Steps(self.files, self.source, self.build, self.run, self.variables, bounds)


@dataclass(frozen=True)
class Toolchain:
    """The tools of a language on this machine."""

    language: "Language"
    version: str
    binds: tuple[tuple[str, str], ...]
    """Paths that a sandbox shows read-only, and where."""
    paths: dict[str, str]
    """The programs, by name."""
    variables: tuple[tuple[str, str], ...] = ()
    """Of the environment in which they run."""


@dataclass(frozen=True)
class Language:
    """A language in which problems can be judged."""

    name: str
    """As in codeparrot.languages."""
    find: Callable[[], Toolchain]
    """Raises CodeparrotError where a tool is missing; the message names it and the remedy."""
    together: Callable[[Toolchain, Translated, str], Parts]
    """Program and test as one process, from a completion: the weaker way."""
    program: Callable[[Toolchain, Translated, str], Parts] | None = None
    """The program as a process that answers calls; None: the language has the weaker way alone."""
    test: Callable[[Toolchain, Translated], Parts] | None = None
    """The test as a process that asks."""
    threads: int = 0
    """That the runtime starts by itself; they are not counted among the program's processes."""
    address_bytes: int = 0
    """Address space of a process that runs, if a runtime reserves more than it uses. It alone bounds shared memory."""
    prepare: Callable[[Toolchain, Path], None] | None = None
    """Writes into a folder what every build needs; the sandbox shows it read-only as HEADERS."""


def find_program(name: str, language: str, remedy: str) -> str:
    """Return the path of a tool.

    Raises:
        CodeparrotError: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise CodeparrotError(f"problems in {LANGUAGES[language].title} need {name}, which is not installed: {remedy}")
    return found


def version_of(*command: str) -> str:
    """Return the first line that a tool says of its version."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (ran.stdout + ran.stderr).strip().splitlines()
    return lines[0] if lines else "?"


def binds_of(*paths: str) -> tuple[tuple[str, str], ...]:
    """Return programs and folders at their own places, links resolved; what does not exist is left out."""
    return tuple((os.path.realpath(path), path) for path in paths if Path(path).exists())


def directives_behind_brace(tests: str, text: str) -> str:
    """Return tests with a text behind the brace that ends the tested function, if they begin with one."""
    found = re.match(r"\s*\}[ \t]*\n?", tests)
    return f"{tests[: found.end()]}\n{text}{tests[found.end() :]}" if found else f"\n{text}{tests}"


def ends_function(tests: str) -> bool:
    """Return whether tests begin with the brace that ends the tested function, which completions then lack."""
    return tests.lstrip().startswith("}")

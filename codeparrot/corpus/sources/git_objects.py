"""Reads the objects of an untrusted git repository, by the command git.

A repository can make nothing run, nothing is fetched, and no environment variable leads elsewhere. An object that cannot be
read is None or counted, never an error.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from codeparrot.corpus.documents import Removed
from codeparrot.corpus.sources.files import printable
from codeparrot.corpus.sources.safety import BOMB, UNREADABLE

MAX_ENTRIES = 1_000_000
"""A tree may hold itself many times over: a few objects that unfold to billions of files."""
SECONDS = 600
"""Only a command that waits for something, such as a pipe in the place of an object, takes this long."""
ENVIRONMENT = {
    "LC_ALL": "C",
    "HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # for a git that does not know GIT_NO_LAZY_FETCH
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    # A repository of another user may be read too: nothing in it is run.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}


class Repository(NamedTuple):
    folder: str
    """The git directory."""
    name: str
    commit: str


class Blob(NamedTuple):
    object: str
    path: str
    size: int


def entries_of(repository: Repository, refused: list[Removed]) -> Iterator[tuple[str, Blob]]:
    """Yield the kind and the blob of every entry of the tree; add to `refused` what makes the listing end early."""
    command = ["git", "ls-tree", "-r", "-z", "-l", repository.commit]
    environment = _environment(Path(repository.folder))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        carried, count = b"", 0
        while count <= MAX_ENTRIES and (chunk := process.stdout.read(1 << 16)):
            *complete, carried = (carried + chunk).split(b"\0")
            count += len(complete)
            for entry in complete:
                facts, _, path = entry.partition(b"\t")
                mode, _, name, size = facts.decode("ascii", "replace").split()
                if size.isdigit():
                    kind = "blob" if mode.startswith("100") else "link"
                    yield kind, Blob(name, printable(os.fsdecode(path)), int(size))
                elif mode.startswith("100"):  # the object is not there: a partial clone
                    refused.append(Removed(UNREADABLE, 0, repository.name, printable(os.fsdecode(path))))
        if count > MAX_ENTRIES:
            process.kill()
            refused.append(Removed(BOMB, 0, repository.name))
    if count <= MAX_ENTRIES and process.returncode:
        refused.append(Removed(UNREADABLE, 0, repository.name))


def contents_of(folder: str, objects: list[str]) -> Iterator[bytes | None]:
    """Yield the content of every object; None if it cannot be read."""
    while objects:
        output = memoryview(run_git(Path(folder), "cat-file", "--batch", text="\n".join(objects) + "\n"))
        start, num_read = 0, 0
        while start < len(output):
            header = bytes(output[start : start + 200]).partition(b"\n")[0]
            start += len(header) + 1
            size = header.split()[-1]
            if not size.isdigit():  # "... missing"
                yield None
            elif start + int(size) < len(output):
                yield bytes(output[start : start + int(size)])
                start += int(size) + 1
            else:
                break
            num_read += 1
        if num_read < len(objects):  # git ends at a damaged object
            yield None
        objects = objects[num_read + 1 :]


def run_git(folder: Path, *arguments: str, text: str = "") -> bytes:
    """Return what git prints, as far as it comes."""
    try:
        return subprocess.run(
            ["git", *arguments],
            env=_environment(folder),
            input=text.encode("utf-8", "surrogateescape"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        return error.stdout or b""


def _environment(folder: Path) -> dict[str, str]:
    # Nothing from this process's environment: GIT_OBJECT_DIRECTORY and others would lead elsewhere. So would a file `commondir`
    # in the repository, which only a second working tree needs.
    place = str(folder.resolve())
    common = {} if folder.parent.name == "worktrees" else {"GIT_COMMON_DIR": place}
    return {**ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath), "GIT_DIR": place, **common}

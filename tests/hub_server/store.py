"""Bare git repositories: revisions, trees and commits, by the `git` command.

References change under the repository's lock and only from the value that was read, so concurrent commits follow one another,
and one that names an outdated parent is refused. A `git push` into the repository is seen at once. A commit's contents are
looked up once (15 ms) and kept.
"""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.hub_server import lfs
from tests.hub_server.errors import HubError, repository_not_found, revision_not_found

MAIN = "main"
NAME = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT_OID = re.compile("[0-9a-f]{40}")
NOT_IN_A_REVISION = re.compile(r"[~^:?*\[\\\s]|\.\.|@\{|^-|^/|//|/$|^$")
# Ignore the machine's own configuration; do not wait for the disk; start no cleaning in the background.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
ENVIRONMENT |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
CONFIG = {"core.fsync": "none", "gc.auto": "0", "receive.autogc": "false", "http.receivepack": "true"}


class Entry(NamedTuple):
    """A file or a folder of a commit."""

    path: str
    is_folder: bool
    oid: str
    """Git's object id."""
    size: int
    """Bytes of the content, not of its pointer; 0 for a folder."""
    pointer: lfs.Pointer | None


class Commit(NamedTuple):
    oid: str
    title: str
    message: str
    """The text after the title."""
    author: str
    time: int
    """Seconds since 1970."""


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.objects = lfs.Objects(path / "lfs" / "objects")
        self._entries: dict[str, dict[str, Entry]] = {}

    def git(self, *arguments: str, content: bytes = b"") -> bytes:
        """Run git and return its standard output. Raises CalledProcessError, with the error output."""
        command = ["git", "-C", str(self.path), *arguments]
        return subprocess.run(command, input=content, capture_output=True, check=True, env=ENVIRONMENT).stdout

    @property
    def facts(self) -> dict[str, Any]:
        """Facts that git does not hold: private, created, discussions. Change them with `write_facts`, under the lock."""
        return json.loads((self.path / "hub.json").read_text(encoding="utf-8"))

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        part = self.path / "hub.json.part"
        part.write_text(json.dumps(facts), encoding="utf-8")
        part.replace(self.path / "hub.json")

    def refs(self) -> dict[str, str]:
        """Full name of each reference -> the commit that it points to."""
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)").decode().splitlines()
        return {fields[0]: fields[-1] for fields in map(str.split, lines)}

    def resolve(self, revision: str) -> str:
        """The commit of a branch, a tag, a full reference or a commit (full or abbreviated)."""
        if NOT_IN_A_REVISION.search(revision):
            raise revision_not_found(revision)
        names = [f"refs/heads/{revision}", f"refs/tags/{revision}"]
        if COMMIT_OID.fullmatch(revision) or revision.startswith("refs/"):
            names.insert(0, revision)
        elif re.fullmatch("[0-9a-f]{5,39}", revision):
            names.append(revision)
        for name in names:
            try:
                return self.git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
            except subprocess.CalledProcessError:
                continue
        raise revision_not_found(revision)

    def entries(self, commit: str) -> dict[str, Entry]:
        """All files and folders of a commit, by path, in git's order."""
        if commit not in self._entries:
            self._entries[commit] = self._read_entries(commit)
        return self._entries[commit]

    def _read_entries(self, commit: str) -> dict[str, Entry]:
        rows = []
        for line in self.git("ls-tree", "-r", "-t", "-l", "-z", commit).decode().split("\0")[:-1]:
            facts, _, path = line.partition("\t")
            _, kind, oid, size = facts.split()
            rows.append((path, kind == "tree", oid, 0 if kind == "tree" else int(size)))
        small = [oid for _, is_folder, oid, size in rows if not is_folder and size < lfs.MAX_POINTER_BYTES]
        pointers = {oid: lfs.parse_pointer(content) for oid, content in self._blobs(small).items()}
        found = {}
        for path, is_folder, oid, size in rows:
            pointer = pointers.get(oid)
            found[path] = Entry(path, is_folder, oid, pointer.size if pointer else size, pointer)
        return found

    def _blobs(self, oids: list[str]) -> dict[str, bytes]:
        output = self.git("cat-file", "--batch", content="".join(f"{oid}\n" for oid in oids).encode()) if oids else b""
        found, position = {}, 0
        for oid in oids:  # each is "OID blob SIZE\nCONTENT\n"
            start = output.index(b"\n", position) + 1
            position = start + int(output[position:start].split()[2]) + 1
            found[oid] = output[start : position - 1]
        return found

    def read(self, entry: Entry) -> bytes:
        """The content of a file; for a pointer, the content of its LFS object."""
        if entry.pointer:
            return self.objects.path(entry.pointer.oid).read_bytes()
        return self.git("cat-file", "blob", entry.oid)

    def log(self, revision: str, *, path: str = "", limit: int = 0) -> list[Commit]:
        """Newest first; `limit` 0 is all, `path` only the commits that touched it."""
        arguments = [*([f"--max-count={limit}"] if limit else []), self.resolve(revision), "--", *([path] if path else [])]
        output = self.git("log", "-z", "--format=%H%n%an%n%ct%n%s%n%b", *arguments).decode()
        found = []
        for record in output.split("\0"):
            if record:
                oid, author, seconds, title, message = record.split("\n", 4)
                found.append(Commit(oid, title, message.strip(), author, int(seconds)))
        return found

    def point(self, ref: str, commit: str, *, new: bool = False) -> None:
        """Point `ref` at `commit`. Raises HubError if it must be new and exists."""
        try:
            self.git("update-ref", ref, commit, *(["0" * 40] if new else []))
        except subprocess.CalledProcessError as error:
            raise HubError(409, f"Reference already exists: {ref}") from error

    def remove(self, ref: str) -> None:
        self.git("update-ref", "-d", ref)

    def commit(self, ref: str, parent: str | None, changes: Mapping[str, bytes | None], message: str, author: str) -> str:
        """One commit on `ref`, whose tip is `parent`; a change to None deletes the file. Call it under the lock.

        Raises HubError if a push moved the reference meanwhile: git then leaves it alone.
        """
        who = f"{author} <{author}@users.noreply.example> {int(time.time())} +0000"
        lines = [f"commit {ref}\nmark :1\ncommitter {who}\n".encode(), _data(message.encode() + b"\n")]
        if parent:
            lines.append(f"from {parent}\n".encode())
        # Deletions first: a file may take the place of a folder.
        lines += [f"D {_quoted(path)}\n".encode() for path, content in changes.items() if content is None]
        for path, content in changes.items():
            if content is not None:
                lines += [f"M 100644 inline {_quoted(path)}\n".encode(), _data(content)]
        lines.append(b"\nget-mark :1\ndone\n")
        try:
            return self.git("fast-import", "--quiet", "--done", content=b"".join(lines)).decode().strip()
        except subprocess.CalledProcessError as error:
            raise HubError(412, f"not committed: {error.stderr.decode().strip()}") from error


def _data(content: bytes) -> bytes:
    return b"data %d\n%b\n" % (len(content), content)


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class Store:
    """`folder`/models/NAMESPACE/NAME.git and `folder`/datasets/...; it outlives the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._repositories: dict[tuple[str, str], Repository] = {}

    def _path(self, kind: str, name: str) -> Path:
        if not NAME.fullmatch(name) or ".." in name:
            raise HubError(400, f"Invalid repo name: {name}")
        return self.folder / kind / f"{name}.git"

    def repository(self, kind: str, name: str) -> Repository:
        """`kind` is `models` or `datasets`. Raises HubError if it does not exist."""
        path = self._path(kind, name)
        with self._lock:
            if not (path / "hub.json").exists():
                raise repository_not_found()
            return self._repositories.setdefault((kind, name), Repository(path))

    def create(self, kind: str, name: str, *, private: bool, author: str) -> None:
        """Create a repository with a first commit that holds .gitattributes, as on the Hub. Raises FileExistsError."""
        path = self._path(kind, name)
        with self._lock:
            if (path / "hub.json").exists():
                raise FileExistsError(name)
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            repository = Repository(path)
            repository.git("init", "--quiet", "--bare", f"--initial-branch={MAIN}", "--template=")
            with (path / "config").open("a", encoding="utf-8") as config:
                for key, value in CONFIG.items():
                    section, _, variable = key.partition(".")
                    config.write(f"[{section}]\n{variable} = {value}\n")
            repository.commit(f"refs/heads/{MAIN}", None, {".gitattributes": lfs.GITATTRIBUTES}, "initial commit", author)
            repository.write_facts({"private": private, "created": int(time.time()), "discussions": []})

    def delete(self, kind: str, name: str) -> None:
        repository = self.repository(kind, name)
        with self._lock, repository.lock:
            self._repositories.pop((kind, name), None)
            shutil.rmtree(repository.path)

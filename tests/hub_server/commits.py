"""The payload of a commit: JSON lines with a header and the operations, applied in order."""

import base64
import json
import subprocess
from typing import Any

from tests.hub_server import lfs
from tests.hub_server.errors import HubError, entry_not_found, stale_parent
from tests.hub_server.store import MAIN, Entry, Repository

GITATTRIBUTES = ".gitattributes"


class Payload:
    """Raises HubError for a line outside the protocol."""

    def __init__(self, content: bytes) -> None:
        lines = [json.loads(line) for line in content.splitlines() if line.strip()]
        if not lines or lines[0]["key"] != "header":
            raise HubError(400, "the first line of a commit is its header")
        header = lines[0]["value"]
        self.title: str = header["summary"]
        self.message = f"{self.title}\n\n{header.get('description', '')}".strip()
        self.parent: str | None = header.get("parentCommit")
        self.operations: list[tuple[str, dict[str, Any]]] = [(line["key"], line["value"]) for line in lines[1:]]


def write(repository: Repository, ref: str, tip: str, payload: Payload, author: str) -> str:
    """Commit onto `ref`, which is at `tip`; call it under the lock. If it raises HubError, nothing has changed."""
    if payload.parent and not tip.startswith(payload.parent):
        raise stale_parent()
    changes = _changes(repository, repository.entries(tip), payload.operations)
    return repository.commit(ref, tip, changes, payload.message, author)


def open_pull_request(repository: Repository, payload: Payload, author: str) -> int:
    """Open a discussion with its own reference refs/pr/N, which starts at main or the named parent and holds the commit."""
    start = repository.resolve(payload.parent or MAIN)
    number = len(repository.facts["discussions"]) + 1
    write(repository, f"refs/pr/{number}", start, payload, author)
    facts = repository.facts
    facts["discussions"].append({"num": number, "title": payload.title, "author": author, "status": "open"})
    repository.write_facts(facts)
    return number


def merge_pull_request(repository: Repository, number: int, author: str) -> str:
    """Commit the pull request's changes to main. Raises HubError if they conflict or it is not open."""
    facts = repository.facts
    found = next((each for each in facts["discussions"] if each["num"] == number), None)
    if found is None or found["status"] != "open":
        raise HubError(404 if found is None else 400, f"there is no open pull request {number}")
    main = repository.resolve(MAIN)
    try:
        tree = repository.git("merge-tree", "--write-tree", main, f"refs/pr/{number}").decode().split()[0]
    except subprocess.CalledProcessError as error:
        raise HubError(409, f"pull request {number} conflicts with {MAIN}") from error
    who = ["-c", f"user.name={author}", "-c", f"user.email={author}@users.noreply.example"]
    title = f"{found['title']} (#{number})"
    merged = repository.git(*who, "commit-tree", tree, "-p", main, "-m", title).decode().strip()
    repository.point(f"refs/heads/{MAIN}", merged)
    found |= {"status": "merged", "merge": merged}
    repository.write_facts(facts)
    return merged


def _changes(
    repository: Repository, entries: dict[str, Entry], operations: list[tuple[str, dict[str, Any]]]
) -> dict[str, bytes | None]:
    changes: dict[str, bytes | None] = {}
    under_lfs: list[str] = []
    for key, value in operations:
        path = _checked(value["path"])
        match key:
            case "file":
                changes[path] = base64.b64decode(value["content"])
            case "lfsFile":
                changes[path] = _pointer(repository, value["oid"]).encode()
                under_lfs.append(path)
            case "deletedFile":
                if not _is_file(path, entries, changes):
                    raise entry_not_found(f"A file with this name doesn't exist: {path}")
                changes[path] = None
            case "deletedFolder":
                inside = [
                    each for each in {**entries, **changes} if each.startswith(f"{path}/") and _is_file(each, entries, changes)
                ]
                if not inside:
                    raise entry_not_found(f"A folder with this name doesn't exist: {path}")
                changes.update(dict.fromkeys(inside))
            case _:
                raise HubError(400, f"unknown operation {key}")
    _attribute(repository, entries, changes, under_lfs)
    return changes


def _is_file(path: str, entries: dict[str, Entry], changes: dict[str, bytes | None]) -> bool:
    if path in changes:
        return changes[path] is not None
    return path in entries and not entries[path].is_folder


def _checked(path: str) -> str:
    parts = path.rstrip("/").split("/")
    if any(part in ("", ".", "..", ".git") for part in parts):
        raise HubError(400, f"Invalid path: {path}")
    return "/".join(parts)


def _pointer(repository: Repository, oid: str) -> lfs.Pointer:
    size = repository.objects.size(oid)
    if size is None:
        raise HubError(400, f"LFS pointer pointed to a file that does not exist: {oid}")
    return lfs.Pointer(oid, size)


def _attribute(
    repository: Repository, entries: dict[str, Entry], changes: dict[str, bytes | None], under_lfs: list[str]
) -> None:
    """Mark files under LFS in .gitattributes, as the Hub does: without the mark a clone would hold the pointer."""
    attributes = changes.get(GITATTRIBUTES)
    if attributes is None and GITATTRIBUTES not in changes and GITATTRIBUTES in entries:
        attributes = repository.read(entries[GITATTRIBUTES])
    for path in under_lfs:
        if changes[path] is not None and not lfs.is_attributed(path, attributes or b""):
            attributes = (attributes or b"") + lfs.attribute(path)
            changes[GITATTRIBUTES] = attributes

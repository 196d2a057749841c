"""`hub.json`: which checkpoints of a run have been pushed where, and which are pending.

The queue is durable because it is derived: a complete checkpoint in `checkpoints/` that is due, and neither pushed nor skipped,
is pending, no matter which process was killed when. The digest of its content identifies a checkpoint: one that is saved again
with the same bytes is not pushed twice, but one of the same step with other bytes is.

The trainer and the uploader both write the file, one at a time and whole (a lock, a rename); only one process pushes.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot import files
from codeparrot.config import HubConfig
from codeparrot.errors import CodeparrotError
from codeparrot.location import Branch
from codeparrot.run import checkpoint

LEDGER = "hub.json"
VERSION = 1
_LOCK, _PUSHING = ".hub.lock", ".hub.pushing"
BEHIND = "the uploads were behind and hub.when_behind is newest"


class Entry(NamedTuple):
    """A checkpoint in the queue."""

    step: int
    tokens: int
    digest: str
    num_bytes: int
    """Size of everything that a push may send."""
    time: float
    """When it was written, seconds since 1970."""

    @property
    def name(self) -> str:
        return checkpoint.name_of(self.step)


class Ledger:
    """The file of one run. Every method reads it again before it writes, because another process may have changed it."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.path = run / LEDGER

    def read(self) -> dict[str, Any]:
        """Return the content.

        Raises:
            CodeparrotError: there is no file, or it is damaged.
        """
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CodeparrotError(f"{self.run} has no {LEDGER}: it is not pushed to the Hub; name a --repo") from None
        except (ValueError, OSError) as error:
            remedy = "remove it: a push recognises what is on the branch already"
            raise CodeparrotError(f"{self.path} cannot be read ({error}); {remedy}") from error
        if content.get("version") != VERSION:
            raise CodeparrotError(f"{self.path} has version {content.get('version')}; this program reads {VERSION}")
        return content

    def open(self, settings: HubConfig) -> None:
        """Write down where and how the run is pushed from now on."""
        with self._changing() as content:
            if (settings.repo, settings.branch) != (content.get("repo"), content.get("branch")):
                # Checkpoints that waited for another branch say nothing about what this one lacks: derive the queue again.
                content["pending"] = []
            content |= {"version": VERSION, "repo": settings.repo, "branch": settings.branch}
            content["settings"] = {key: value for key, value in vars(settings).items() if key not in ("repo", "branch")}
            for key, empty in (("state", "idle"), ("error", ""), ("pushed", []), ("pending", []), ("skipped", [])):
                content.setdefault(key, empty)

    @property
    def branch(self) -> Branch:
        content = self.read()
        return Branch(content["repo"], content["branch"])

    @property
    def settings(self) -> HubConfig:
        content = self.read()
        return HubConfig(repo=content["repo"], branch=content["branch"], **content["settings"])

    def pending(self) -> list[Entry]:
        """Update the queue to the checkpoints on the disk; return it, the oldest first."""
        with self._changing() as content:
            present = {entry.digest: entry for entry in entries(self.run / "checkpoints", content["settings"]["state"])}
            settled = {each["digest"]: _entry(each) for each in _of_branch(content, "pushed")}
            for entry in map(_entry, _of_branch(content, "skipped")):
                # A checkpoint that was damaged or gone may be saved again.
                if present.get(entry.digest, entry).time == entry.time:
                    settled.setdefault(entry.digest, entry)
            queue = {each["digest"]: _entry(each) for each in content["pending"] if each["digest"] not in settled}
            for entry in [entry for digest, entry in queue.items() if digest not in present]:
                self._skip(content, queue.pop(entry.digest), "it is no longer on the disk")
            for digest, entry in present.items():
                decided = [*settled.values(), *queue.values()]
                if digest not in settled | queue and _is_newer(entry, decided) and self._is_due(entry, decided, content):
                    queue[digest] = entry
            content["pending"] = [entry._asdict() for entry in queue.values()]
            return list(queue.values())

    def next(self) -> Entry | None:
        """Return the next checkpoint to push, or None. If several wait, `hub.when_behind: newest` skips all but the newest."""
        queue = self.pending()
        if len(queue) > 1 and self.settings.when_behind == "newest":
            with self._changing() as content:
                for entry in queue[:-1]:
                    self._skip(content, entry, BEHIND)
                content["pending"] = [queue[-1]._asdict()]
            queue = queue[-1:]
        return queue[0] if queue else None

    def pushed(self, entry: Entry, commit: str, target: Branch) -> None:
        """Write down that a checkpoint is on `target`, even if the run goes to another branch by now."""
        with self._changing() as content:
            content["pushed"].append(entry._asdict() | target._asdict() | {"commit": commit, "pushed_at": time.time()})
            if target == (content["repo"], content["branch"]):
                self._settle(content, entry)
            content |= {"state": "idle", "error": ""}

    def newest_pushed(self) -> Entry | None:
        """Return the newest checkpoint on the branch, if it is still on the disk."""
        pushed = [_entry(each) for each in _of_branch(self.read(), "pushed")]
        present = {entry.digest for entry in entries(self.run / "checkpoints")}
        return pushed[-1] if pushed and pushed[-1].digest in present else None

    def skip(self, entry: Entry, why: str) -> None:
        """Take a checkpoint out of the queue without pushing it."""
        with self._changing() as content:
            self._skip(content, entry, why)
            self._settle(content, entry)

    def note(self, state: str, error: str = "") -> None:
        """Write down the state of pushing: idle, pushing, or why not: offline (no token or no network), unreachable, denied,
        conflict (the branch belongs to another run), failed."""
        with self._changing() as content:
            content |= {"state": state, "error": error}

    def digests(self) -> set[str]:
        """Return the digests of all checkpoints that this run has or has pushed."""
        pushed = self.read()["pushed"] if self.path.exists() else []
        return {each["digest"] for each in pushed} | {entry.digest for entry in entries(self.run / "checkpoints")}

    @contextmanager
    def pushing(self, wait: bool = False) -> Iterator[bool]:
        """Hold the right to push; yields whether it was free. The right ends with the process, however that ends."""
        with files.locked(self.run / _PUSHING, wait) as free:
            yield free

    def _skip(self, content: dict[str, Any], entry: Entry, why: str) -> None:
        facts = {"repo": content["repo"], "branch": content["branch"], "reason": why}
        content["skipped"].append(entry._asdict() | facts)

    def _settle(self, content: dict[str, Any], entry: Entry) -> None:
        content["pending"] = [each for each in content["pending"] if each["digest"] != entry.digest]

    def _is_due(self, entry: Entry, decided: list[Entry], content: dict[str, Any]) -> bool:
        every = content["settings"]["every"]
        last = max(decided, key=_age).step if decided else 0
        # A step below the last one means that the run went back and took another course from there.
        return not every or not 0 < entry.step - last < every or _is_final(self.run / "checkpoints" / entry.name)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """Yield the content, and write it if it was changed."""
        with files.locked(self.run / _LOCK, wait=True):
            content = self.read() if self.path.exists() else {}
            before = json.dumps(content, indent=1)
            yield content
            after = json.dumps(content, indent=1)
            if after != before:
                files.write_text(self.path, after)


def entries(checkpoints: Path, state: bool = False) -> list[Entry]:
    """Return the complete checkpoints in a folder in the order in which they were written.

    Args:
        checkpoints: the folder.
        state: whether a push also sends the optimizer's state; then it counts towards the size.
    """
    found = []
    for place in checkpoint.steps(checkpoints):
        try:
            manifest = checkpoint.read_manifest(place)
        except (CodeparrotError, OSError):
            continue  # being removed, or not complete: it cannot be pushed
        sent = [file["bytes"] for name, file in manifest["files"].items() if state or name.startswith("model/")]
        found.append(Entry(manifest["step"], manifest["tokens"], digest_of(manifest), sum(sent), manifest["time"]))
    return sorted(found, key=_age)


def digest_of(manifest: dict[str, Any]) -> str:
    """Return what identifies a checkpoint: a SHA-256 over its model and its position in the data."""
    files: Iterable[tuple[str, dict[str, Any]]] = sorted(manifest["files"].items())
    lines = [f"{name} {file['sha256']}" for name, file in files if not name.startswith("state/")]
    return hashlib.sha256("\n".join([str(manifest["step"]), *lines]).encode()).hexdigest()[:32]


def _entry(facts: dict[str, Any]) -> Entry:
    return Entry(**{name: facts[name] for name in Entry._fields})


def _of_branch(content: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in content[kind] if (each["repo"], each["branch"]) == (content["repo"], content["branch"])]


def _age(entry: Entry) -> tuple[float, int]:
    return entry.time, entry.step


def _is_newer(entry: Entry, decided: list[Entry]) -> bool:
    """Whether a checkpoint was written after all that were decided on. (Clocks may differ.)"""
    return all(entry.time > each.time for each in decided) or all(entry.step > each.step for each in decided)


def _is_final(place: Path) -> bool:
    manifest = checkpoint.read_manifest(place)
    return manifest["step"] == manifest["config"]["train"]["max_steps"]

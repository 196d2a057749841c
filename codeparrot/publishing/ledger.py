"""`hub.json`: which checkpoints of a run have been pushed where, and which are pending.

The queue is durable because it is derived: a complete checkpoint in `checkpoints/` that is due, and neither pushed nor skipped,
is pending, no matter which process was killed when. The digest of its content identifies a checkpoint: one that is saved again
with the same bytes is not pushed twice, but one of the same step with other bytes is. Checkpoints come in the order of the
numbers in their manifests; times are for people.

The trainer and the uploader both write the file, one at a time and whole (a lock, a rename); only one process pushes.
"""

import json
import logging
import time
from collections.abc import Iterator
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
_BRANCH = {"repo": str, "branch": str}
_LISTS = {"pushed": {**_BRANCH, "commit": str, "pushed_at": float}, "pending": {}, "skipped": {**_BRANCH, "reason": str}}
"""Lists of checkpoints in the file, and what they say of each besides what identifies it."""

logger = logging.getLogger("codeparrot")


class Entry(NamedTuple):
    """A checkpoint in the queue."""

    step: int
    tokens: int
    digest: str
    num_bytes: int
    """Size of everything that a push may send."""
    time: float
    """When it was written, seconds since 1970, by the clock of that machine."""
    number: int = 0
    """Place in the order of writing; 0 if an earlier version wrote it."""

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
        remedy = "remove it: a push recognises what is on the branch already"
        try:
            content = files.read_object(self.path)
        except FileNotFoundError:
            raise CodeparrotError(f"{self.run} has no {LEDGER}: it is not pushed to the Hub; name a --repo") from None
        except (ValueError, OSError) as error:
            raise CodeparrotError(f"{self.path} cannot be read ({error}); {remedy}") from error
        version = content.get("version")
        if version not in (None, VERSION):
            raise CodeparrotError(f"{self.path} has version {version}; this program reads {VERSION}")
        if version is None or not _is_ledger(content):
            raise CodeparrotError(f"{self.path} cannot be read (it is not what a push writes); {remedy}")
        return content

    def open(self, settings: HubConfig) -> None:
        """Write down where and how the run is pushed from now on. A file that cannot be read is set aside with a warning."""
        with self._changing(anew=True) as content:
            if (settings.repo, settings.branch) != (content.get("repo"), content.get("branch")):
                # Checkpoints that waited for another branch say nothing about what this one lacks: derive the queue again.
                content["pending"] = []
            content |= {"version": VERSION, "repo": settings.repo, "branch": settings.branch}
            content["settings"] = {key: value for key, value in vars(settings).items() if key not in ("repo", "branch")}
            for key, empty in (("state", "idle"), ("error", ""), ("pushed", []), ("pending", []), ("skipped", [])):
                content.setdefault(key, empty)

    @property
    def begun_anew(self) -> bool:
        """Whether an earlier file could not be read, so that nothing says what has been pushed."""
        return bool(self.read().get("set_aside"))

    def next_number(self) -> int:
        """Return the least number of a checkpoint that comes after all that are known here; they may be gone from the disk."""
        try:
            content = self.read()
        except CodeparrotError:
            return 0
        return 1 + max((_entry(each).number for kind in _LISTS for each in content[kind]), default=-1)

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
                if present.get(entry.digest, entry).number == entry.number:
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
        last = max(decided, key=_order).step if decided else 0
        # A step below the last one means that the run went back and took another course from there.
        return not every or not 0 < entry.step - last < every or _is_final(self.run / "checkpoints" / entry.name)

    @contextmanager
    def _changing(self, anew: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the content, and write it if it was changed. With `anew`, begin where there is none that can be read."""
        with files.locked(self.run / _LOCK, wait=True):
            try:
                content = {} if anew and not self.path.exists() else self.read()
            except CodeparrotError as error:
                if not anew:
                    raise
                content = self._set_aside(error)
            before = json.dumps(content, indent=1)
            yield content
            after = json.dumps(content, indent=1)
            if after != before:
                files.write_text(self.path, after)

    def _set_aside(self, error: CodeparrotError) -> dict[str, Any]:
        """Rename the file; return the content of one that begins anew."""
        names = (f"{LEDGER}.damaged{f'-{count}' if count else ''}" for count in range(1_000_000))
        aside = next(place for place in map(self.path.with_name, names) if not place.exists())
        self.path.rename(aside)
        reason = str(error).partition("; ")[0]
        logger.warning("%s: it is now %s, and a new one is begun; a push recognises what is on the branch", reason, aside.name)
        return {"set_aside": aside.name}


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
        sent = [
            file["bytes"]
            for name, file in manifest["files"].items()
            if state or name.startswith(("model/", f"{checkpoint.AVERAGE}/"))
        ]
        facts = manifest["step"], manifest["tokens"], checkpoint.digest_of(manifest), sum(sent), manifest.get("time", 0.0)
        found.append(Entry(*facts, number=manifest.get("number", 0)))
    return sorted(found, key=_order)


def _entry(facts: dict[str, Any]) -> Entry:
    return Entry(**{name: facts[name] for name in Entry._fields if name in facts})


def _of_branch(content: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in content[kind] if (each["repo"], each["branch"]) == (content["repo"], content["branch"])]


def _is_ledger(content: dict[str, Any]) -> bool:
    """Whether everything is there that a push reads, and of its type."""
    types = {name: type(value) for name, value in vars(HubConfig()).items() if name not in _BRANCH}
    texts = (content.get(name) for name in ("repo", "branch", "state", "error"))
    settings = content.get("settings")
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(settings, dict)
        and all(name in types and _is(value, types[name]) for name, value in settings.items())
        and all(_is_list(content.get(kind), Entry.__annotations__ | known) for kind, known in _LISTS.items())
    )


def _is_list(found: Any, types: dict[str, type]) -> bool:
    return isinstance(found, list) and all(
        isinstance(each, dict)
        and all(_is(each[name], kind) if name in each else name in Entry._field_defaults for name, kind in types.items())
        for each in found
    )


def _is(value: Any, kind: type) -> bool:
    """Whether a value is of a type. A number of seconds may be a whole one, and a date must be one that can be shown."""
    return isinstance(value, int | float) and abs(value) < 1e11 if kind is float else isinstance(value, kind)


def _order(entry: Entry) -> tuple[int, int]:
    return entry.number, entry.step


def _is_newer(entry: Entry, decided: list[Entry]) -> bool:
    """Whether a checkpoint was written after all that were decided on. (Those of earlier versions have no number.)"""
    return all(entry.number > each.number for each in decided) or all(entry.step > each.step for each in decided)


def _is_final(place: Path) -> bool:
    manifest = checkpoint.read_manifest(place)
    return manifest["step"] == manifest["config"]["train"]["max_steps"]

"""`mirror.json` in the run directory: which checkpoints have a copy at the mirror, and why others wait.

What waits is derived from the checkpoints on the disk, so it survives any kill: those that `checkpoint.keep_last` and
`keep_every_steps` keep, and that the mirror does not have yet. An older checkpoint that would be removed there at once never
waits. The start and the copier change the file, one at a time and whole.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.config import Config
from codeparrot.publishing.ledger import Entry, entries

STATE = "mirror.json"
VERSION = 1
_LOCK, _COPYING = ".mirror.lock", ".mirror.copying"
_EMPTY: dict[str, Any] = {"version": VERSION, "id": "", "mirror": "", "keep_last": 1, "keep_every_steps": 0}
_EMPTY |= {"state": "idle", "error": "", "copying": "", "copied": [], "waiting": [], "damaged": [], "skipped": []}


class State:
    """The file of one run."""

    def __init__(self, run: Path) -> None:
        self.run, self.path = run, run / STATE

    def read(self) -> dict[str, Any]:
        """Return the content; that of a run without a mirror if there is no file, or none that can be read.

        Nothing is lost with the file: the mirror says whose copies it holds, and which.
        """
        try:
            content = files.read_object(self.path)
            whole = _EMPTY | content
            if whole["version"] == VERSION and all(isinstance(whole[key], type(value)) for key, value in _EMPTY.items()):
                list(map(_entry, whole["copied"] + whole["skipped"]))
                return whole
        except (OSError, ValueError, TypeError):
            pass
        return {**_EMPTY}

    def open(self, config: Config) -> dict[str, Any]:
        """Write down where copies go from now on; return the content."""
        kept = {"keep_last": config.checkpoint.keep_last, "keep_every_steps": config.checkpoint.keep_every_steps}
        with self._changing() as content:
            if content["mirror"] != config.checkpoint.mirror:
                content |= {"copied": [], "damaged": [], "skipped": []}
            content |= {"mirror": config.checkpoint.mirror, "copying": "", **kept}
        return self.read()

    def note(self, **facts: Any) -> None:
        """Write down what has changed, and what waits now."""
        with self._changing() as content:
            content.update(facts)

    def skip(self, entry: Entry, why: str) -> None:
        """Let a checkpoint wait no more, since it cannot be copied as it is."""
        with self._changing() as content:
            content["skipped"].append(entry._asdict() | {"reason": why})

    def copied(self) -> list[Entry]:
        return list(map(_entry, self.read()["copied"]))

    def waiting(self) -> list[Entry]:
        """Return the checkpoints that wait for a copy, the newest first."""
        return waiting(self.run, self.read())

    def next_number(self) -> int:
        """Return the least number of a checkpoint that comes after all that have a copy; they may be gone from the disk."""
        return 1 + max((entry.number for entry in self.copied()), default=-1)

    @contextmanager
    def alone(self, wait: bool = False) -> Iterator[bool]:
        """Hold the right to copy; yields whether it was free. The right ends with the process, however that ends."""
        with files.locked(self.run / _COPYING, wait) as free:
            yield free

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        with files.locked(self.run / _LOCK, wait=True):
            content = self.read()
            yield content
            content["waiting"] = [entry._asdict() for entry in waiting(self.run, content)]
            files.write_text(self.path, files.to_json(content, indent=1))


def waiting(run: Path, content: dict[str, Any]) -> list[Entry]:
    """Return the checkpoints of a run that wait for a copy, the newest first."""
    there = {entry.step: entry for entry in map(_entry, content["copied"]) if entry.digest not in content["damaged"]}
    skipped = {(each["digest"], each["number"]) for each in content["skipped"]}
    here = [entry for entry in entries(run / "checkpoints", state=True) if (entry.digest, entry.number) not in skipped]
    missing = {entry.step: entry for entry in here if _is_missing(entry, there.get(entry.step))}
    ordered = sorted({**there, **missing}.values(), key=lambda entry: (entry.number, entry.step), reverse=True)
    every = content["keep_every_steps"]
    kept = [entry for rank, entry in enumerate(ordered) if rank < content["keep_last"] or (every and entry.step % every == 0)]
    return [entry for entry in kept if missing.get(entry.step) is entry]


def _is_missing(entry: Entry, there: Entry | None) -> bool:
    """Whether the mirror lacks a checkpoint. Another one of its step that was written later stays."""
    return there is None or (there.digest != entry.digest and there.number <= entry.number)


def _entry(facts: dict[str, Any]) -> Entry:
    return Entry(**{name: facts[name] for name in Entry._fields if name in facts})

"""Counts of what was read, kept and removed. Cost: a few hundred bytes of memory a repository."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from codeparrot.corpus.documents import Candidate, Document
from codeparrot.corpus.filters import Thresholds, rules

DUPLICATE = "duplicate"


@dataclass(slots=True)
class Count:
    files: int = 0
    bytes: int = 0
    """Of text as UTF-8; of what a disk or a table holds where there is no text."""
    characters: int = 0

    def add(self, files: int, size: int, characters: int = 0) -> None:
        self.files += files
        self.bytes += size
        self.characters += characters


@dataclass(slots=True)
class Tally:
    read: Count = field(default_factory=Count)
    kept: Count = field(default_factory=Count)
    removed: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    repositories: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    licenses: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))

    def remove(self, reason: str, size: int) -> None:
        self.read.add(1, size)
        self.removed[reason].add(1, size)

    def keep(self, document: Document) -> None:
        self.read.add(1, document.size)
        for count in (self.kept, self.repositories[document.repo_name], self.licenses[document.license]):
            count.add(1, document.size, len(document.content))

    def of(self, repositories: set[str]) -> Count:
        """Return the sum over some repositories."""
        total = Count()
        for name in repositories:
            count = self.repositories[name]
            total.add(count.files, count.bytes, count.characters)
        return total


class Duplicates:
    """Remembers 16 bytes of every document (about 90 in memory): the first one with a fingerprint is no duplicate."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def is_new(self, candidate: Candidate) -> bool:
        known = len(self._seen)
        self._seen.add(candidate.fingerprint)
        return len(self._seen) > known


def removals(limits: Thresholds) -> dict[str, str]:
    """Return all that can remove a file, in the order in which it is looked at, with what that means in words."""
    return {
        "unreadable": "cannot be opened",
        "malformed": "a row that is no JSON object or whose text is not a text",
        "undecodable": "neither UTF-8 nor what its coding line says",
        **rules(limits),
        DUPLICATE: "the text of another document, apart from white space",
    }


def removed_table(tally: Tally, limits: Thresholds) -> dict[str, dict[str, Any]]:
    table = {}
    for reason, rule in removals(limits).items():
        count = tally.removed.get(reason, Count())
        table[reason] = {"files": count.files, "bytes": count.bytes, "rule": rule}
    return table

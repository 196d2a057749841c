"""What a stage of cleaning is: its settings, what it does to a document, and what it says about that on the card.

A stage is a frozen dataclass in a file of its own and a line of STAGES in registry.py. That line's name is the group of its
flags (`--NAME.FIELD`) and its place in recipes, in `settings` and in statistics.json. The fields are the settings; everything
but `title` and `clean` has a default.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self


class Cleaned(NamedTuple):
    """What a stage makes of a text."""

    content: str | None
    """None: the document is removed."""
    detail: str = ""
    """Why it is removed."""
    counts: Mapping[str, int] = MappingProxyType({})
    """What was found in it, by kind."""
    hits: tuple[dict[str, str], ...] = ()
    """What the report shows of it: for each item, a text by name."""
    shown: str = ""
    """For a removed document: the text that a sample may show."""


@dataclass
class Found:
    """What a stage found in many documents."""

    files: int = 0
    """Number of documents in which it found anything."""
    counts: Counter[str] = field(default_factory=Counter)
    hits: list[dict[str, str]] = field(default_factory=list)

    def add(self, cleaned: Cleaned, repo_name: str, path: str) -> None:
        self.files += bool(cleaned.counts or cleaned.hits)
        self.counts.update(cleaned.counts)
        self.hits += [{**hit, "repo_name": repo_name, "path": path} for hit in cleaned.hits]


@dataclass(frozen=True)
class Stage(ABC):
    """A stage of cleaning. It travels to the workers by pickle and prepares itself at its first text there."""

    title: ClassVar[str]
    """Heading of its section on the card."""
    heading: ClassVar[str] = ""
    """Heading in a report, in lower case; empty: the title."""
    reason: ClassVar[str] = ""
    """The reason under which removed documents are counted, if it removes any."""
    hides_samples: ClassVar[bool] = False
    """Whether a sample of removed documents would reveal what nobody should see."""

    @property
    def is_on(self) -> bool:
        """Whether the settings let it do anything."""
        return True

    def check(self) -> None:
        """Raise CodeparrotError if a setting is impossible; called before anything is read."""

    def files(self) -> dict[str, str]:
        """Return digests of the files that the settings name; if one changes, an interrupted build starts again."""
        return {}

    def rule(self) -> str:
        """Return which documents it removes, in words; empty if it removes none."""
        return ""

    @abstractmethod
    def clean(self, content: str) -> Cleaned:
        """Return what becomes of a text; it depends on the text and the settings alone."""

    def clean_in(self, content: str, language: str) -> Cleaned:
        """Return what becomes of a text in a language; a stage that depends on the language has this method instead."""
        return self.clean(content)

    def summary(self, found: Found) -> dict[str, Any]:
        """Return, as JSON, what statistics.json says about everything it found."""
        return {"files": found.files, "kinds": dict(sorted(found.counts.items()))}

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> Self:
        """Return the stage with the settings that the statistics of a corpus record; another version may have written them."""
        return cls(**{each.name: recorded[each.name] for each in fields(cls) if each.name in recorded})

    @classmethod
    def findings(cls, name: str, statistics: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the summary in the statistics of a corpus; None if the stage was off, or if that is not recorded."""
        recorded = statistics.get("settings", {}).get(name)
        return statistics.get(name) if recorded is not None and cls.of(recorded).is_on else None

    @classmethod
    def words(cls, found: Mapping[str, Any] | None) -> str:
        """Return what the card says in a sentence or two; `found` is what `findings` returns."""
        return "Nothing was looked for." if found is None else f"{found['files']:,} files held some."

    @classmethod
    def table(cls, found: Mapping[str, Any]) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        """Return the header and the rows of the card's table."""
        return ("kind", "found"), found["kinds"].items()

    @classmethod
    def report(cls, found: Mapping[str, Any]) -> Iterator[str]:
        """Yield the lines of a report."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in found["kinds"].items() if count)
        yield f"in {found['files']:,} {'file' if found['files'] == 1 else 'files'}: {kinds or 'none'}"

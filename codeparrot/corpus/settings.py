"""Everything that a corpus depends on, besides what its sources hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from codeparrot.corpus import registry
from codeparrot.corpus.documents import ColumnNames
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.corpus.licenses.rules import LicenseSettings
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.notebooks import NotebookSettings
from codeparrot.corpus.stage import Stage
from codeparrot.errors import CodeparrotError
from codeparrot.languages.chosen import endings
from codeparrot.languages.names import canonical
from codeparrot.stream.losses import OnError

PYTHON_SUFFIXES = (".py",)
"""What a build reads that names neither languages nor suffixes."""


@dataclass(frozen=True)
class Settings:
    """Of a build."""

    source: list[str]
    max_bytes: int
    valid_fraction: float
    shard_bytes: int
    seed: int
    languages: tuple[str, ...]
    """By the names of languages/names.py, or "all"; empty: what is read stays, whatever its language."""
    suffixes: tuple[str, ...]
    columns: ColumnNames
    filters: Thresholds
    licenses: LicenseSettings
    notebooks: NotebookSettings
    near_duplicates: NearDuplicates
    caps: Mapping[str, int]
    """Most bytes of the languages that have a cap."""
    stages: Mapping[str, Stage]
    """All stages by the names of their settings, in the order in which they clean."""
    keep_removed: int
    on_error: OnError = "stop"

    @property
    def endings(self) -> tuple[str, ...]:
        """What the paths of files to read end in: `suffixes` if there are any, else those of the languages."""
        return self.suffixes or endings(self.languages)

    @property
    def installed_endings(self) -> tuple[str, ...]:
        """The same for the source `python`: suffixes alone do not change what it reads."""
        return self.endings if self.languages else PYTHON_SUFFIXES

    @property
    def max_read_size(self) -> int:
        """Bytes; larger files are not read. Of a notebook, the pictures go before a filter sees it."""
        return max(self.filters.max_size, self.notebooks.max_size if self.notebooks.converts else 0)

    def recorded(self) -> dict[str, Any]:
        """Return the settings as a recipe and the statistics of a corpus hold them: each stage is a group of its own."""
        recorded: dict[str, Any] = {}
        for name, value in asdict(self).items():
            recorded |= value if name == "stages" else {name: value}
        return recorded

    def files(self) -> dict[str, str]:
        """Return digests of the files that the settings name."""
        stages = {name: digest for each in self.stages.values() for name, digest in each.files().items()}
        return {**self.licenses.files(), **self.filters.files(), **stages}


def all_stages(given: Mapping[str, Stage]) -> dict[str, Stage]:
    """Return every stage in order: with the given settings, or else with its defaults.

    Raises:
        TypeError: no stage has one of the given names.
    """
    if unknown := given.keys() - registry.STAGES.keys():
        raise TypeError(f"there is no stage {', '.join(sorted(unknown))}; STAGES in registry.py lists them")
    return {name: given.get(name) or stage() for name, stage in registry.stages().items()}


def checked_caps(caps: Mapping[str, int]) -> dict[str, int]:
    """Return the caps by the names that the corpus has for languages.

    Raises:
        CodeparrotError: a cap is below 1, or a language has two.
    """
    found: dict[str, int] = {}
    for name, size in caps.items():
        if size < 1:
            raise CodeparrotError(f"caps.{name} is {size}; it is a number of bytes, at least 1")
        if canonical(name) in found:
            raise CodeparrotError(f"caps has two numbers for {canonical(name)}; give one")
        found[canonical(name)] = size
    return found

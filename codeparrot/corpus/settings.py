"""Everything that a corpus depends on, beside what its sources hold."""

from dataclasses import dataclass

from codeparrot.corpus.bands import NearDuplicates
from codeparrot.corpus.documents import ColumnNames
from codeparrot.corpus.filters import Thresholds


@dataclass(frozen=True)
class Settings:
    """Written into the statistics of a corpus."""

    source: list[str]
    max_bytes: int
    valid_fraction: float
    shard_bytes: int
    seed: int
    suffixes: tuple[str, ...]
    columns: ColumnNames
    filters: Thresholds
    near_duplicates: NearDuplicates
    keep_removed: int

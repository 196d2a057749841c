"""Everything that a corpus depends on, beside what its sources hold."""

from dataclasses import dataclass

from codeparrot.corpus.contamination.index import Settings as ContaminationSettings
from codeparrot.corpus.documents import ColumnNames
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.corpus.licenses.rules import LicenseSettings
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.secrets.redaction import Settings as SecretSettings


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
    licenses: LicenseSettings
    near_duplicates: NearDuplicates
    contamination: ContaminationSettings
    secrets: SecretSettings
    keep_removed: int

"""When two documents are near duplicates, and how their signatures are cut into bands to find them."""

from dataclasses import dataclass
from typing import NamedTuple

from codeparrot.errors import CodeparrotError

SIGNATURE_VERSION = "rminhash-1"
"""Written into the statistics: signatures of different versions cannot be compared."""
RECALL = 0.999


@dataclass(frozen=True)
class NearDuplicates:
    """When two documents count as near duplicates; one of them is kept."""

    threshold: float = 0.7
    """Smallest Jaccard similarity of near duplicates' shingles, as their signatures estimate it (0: keep all)."""
    ngram: int = 5
    """Tokens in a shingle; a token is a run of letters, digits and underscores."""
    permutations: int = 256
    """Values in a signature: more estimate better and cost more."""

    def check(self) -> None:
        """Raise CodeparrotError if a setting is out of range."""
        if not 0 <= self.threshold <= 1:
            raise CodeparrotError(f"near_duplicates.threshold is {self.threshold}; it is a similarity, from 0 (keep all) to 1")
        for name, value, most in (("ngram", self.ngram, 100), ("permutations", self.permutations, 4096)):
            if not 1 <= value <= most:
                raise CodeparrotError(f"near_duplicates.{name} is {value}; it must be 1 to {most}")


class Bands(NamedTuple):
    """How a signature is cut: `number` bands of `rows` values each; left-over values are in no band."""

    number: int
    rows: int

    def probability(self, similarity: float) -> float:
        """Return the probability that two texts of this similarity agree in a band."""
        return 1 - (1 - similarity**self.rows) ** self.number


def bands_of(settings: NearDuplicates) -> Bands:
    """Return the longest bands that find a pair halfway between the threshold and 1 with a probability of RECALL or more.

    At the threshold of 0.7 that is a pair of similarity 0.85. Longer bands make fewer false candidates.
    """
    halfway = (1 + settings.threshold) / 2
    for rows in range(settings.permutations, 1, -1):
        bands = Bands(settings.permutations // rows, rows)
        if bands.probability(halfway) >= RECALL:
            return bands
    return Bands(settings.permutations, 1)

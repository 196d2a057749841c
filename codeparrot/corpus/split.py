"""Decides which repositories are for validation. By repository, never by file: files of one repository resemble each other.

A stable hash of the seed and its name gives every repository a number in [0, 1); those below the fraction are valid. So a
repository stays in its split when others come and go, unless a split would be empty: then the repository with the smallest
number is valid (or the one with the largest is not).
"""

from collections.abc import Iterable

from codeparrot.corpus.hashes import POSITIONS, position
from codeparrot.errors import CodeparrotError


def valid_repositories(names: Iterable[str], seed: int, fraction: float) -> set[str]:
    """Return the names for validation: none if the fraction is 0, else at least one but not all."""
    ordered = sorted(names, key=lambda name: (position(seed, "split", name), name))
    if not fraction:
        return set()
    if len(ordered) == 1:
        raise CodeparrotError(
            f'every document is of one repository ("{ordered[0]}"), and a repository is never divided between train and valid; '
            "add a --source with others, or give --valid_fraction 0 for a corpus without a valid split"
        )
    valid = [name for name in ordered if position(seed, "split", name) < fraction * POSITIONS]
    return set(valid[: len(ordered) - 1] or ordered[:1])

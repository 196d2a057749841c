"""Decides what is for validation: whole repositories, since files of one repository resemble each other.

A stable hash of the seed and its name gives every repository a number in [0, 1); those below the fraction are valid. So a
repository stays in its split when others come and go, unless a split would be empty, or the valid one far larger than asked:
then the repositories with the smallest numbers are valid that leave enough to train on.

Where every repository is too large for that, or there is one only, they are split inside, by folders and files, as near to the
top as the fraction allows.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Set

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from codeparrot.corpus.hashes import POSITIONS, position
from codeparrot.errors import CodeparrotError

MOST_WHOLE = 0.1
"""Whole repositories for validation may hold this fraction of all, also where less is asked for."""


def valid_repositories(sizes: Mapping[str, int], seed: int, fraction: float) -> set[str]:
    """Return the names of those that are for validation: never all; none if the fraction is 0, or if each is too large.

    Args:
        sizes: bytes, or documents, by the name of a repository.
        seed: the choice is drawn from it.
        fraction: of the repositories.
    """
    most = max(MOST_WHOLE, _most(fraction)) * sum(sizes.values())
    valid: set[str] = set()
    taken = 0
    for name in sorted(sizes, key=lambda name: (position(seed, "split", name), name)) if fraction else ():
        if position(seed, "split", name) >= fraction * POSITIONS and valid:
            break
        if taken + sizes[name] <= most and len(valid) < len(sizes) - 1:
            valid.add(name)
            taken += sizes[name]
    return valid


def valid_parts(sizes: Mapping[str, int], seed: int, fraction: float) -> list[str]:
    """Return the folders, with a slash at their ends, and files inside repositories that are for validation, sorted.

    They hold between half and one and a half times the fraction of the bytes, if folders and files of one depth can, and the
    least depth that allows this is taken. Otherwise, they are the files that fit, or else the smallest.

    Args:
        sizes: bytes by the path of a file, with slashes.
        seed: the choice is drawn from it.
        fraction: of the bytes, above 0.

    Raises:
        CodeparrotError: there is only one file.
    """
    if len(sizes) < 2:
        raise CodeparrotError(
            f'the only document that is left is "{next(iter(sizes))}", which cannot be divided between train and valid; '
            "add a --source with others, or give --valid_fraction 0 for a corpus without a valid split"
        )
    total = sum(sizes.values())
    wanted, most = fraction * total, _most(fraction) * total
    chosen: list[str] = []
    parts = Counter[str]()
    for depth in range(1, max(path.count("/") for path in sizes) + 2):
        parts = Counter[str]()
        for path, size in sizes.items():
            parts[_part(path, depth)] += size
        chosen, taken = [], 0
        for name in sorted(parts, key=lambda name: (position(seed, "split", name), name)):
            if taken + parts[name] <= most and len(chosen) < len(parts) - 1:
                chosen.append(name)
                taken += parts[name]
        if taken >= wanted / 2:
            break
    return sorted(chosen or [min(parts, key=lambda name: (parts[name], name))])


def are_in(column: "pa.ChunkedArray | pa.Array", names: Set[str]) -> NDArray[np.bool_]:
    """Return which values of a column are among the names. Each value is looked up: the number of names does not matter."""
    encoded = pa.table([column], ["names"]).combine_chunks().column(0).dictionary_encode()
    chunks = encoded.chunks
    found = [np.array([name in names for name in each.dictionary.to_pylist()], np.bool_)[each.indices] for each in chunks]
    return np.concatenate([np.empty(0, np.bool_), *found])


def lies_in(path: str, parts: Collection[str]) -> bool:
    """Whether a path is one of these files, or below one of these folders."""
    return any(_part(path, depth) in parts for depth in range(1, path.count("/") + 2))


def _most(fraction: float) -> float:
    """Return how much of the bytes may be valid where that fraction is asked for."""
    return min(1.5 * fraction, (1 + fraction) / 2)


def _part(path: str, depth: int) -> str:
    names = path.split("/")
    return "/".join(names[:depth]) + ("/" if len(names) > depth else "")

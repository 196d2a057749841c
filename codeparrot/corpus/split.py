"""Decides what is for validation: whole repositories, since files of one repository resemble each other.

A stable hash of the seed and its name gives every repository a number in [0, 1); those below the fraction are valid. So a
repository stays in its split when others come and go, unless a split would be empty: then the repository with the smallest
number is valid (or the one with the largest is not).

A corpus of one repository is split inside it, by folders and files, as near to its top as the fraction allows.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from codeparrot.corpus.hashes import POSITIONS, position
from codeparrot.errors import CodeparrotError


def valid_repositories(names: Iterable[str], seed: int, fraction: float) -> set[str]:
    """Return those of two or more names that are for validation: none if the fraction is 0, else at least one but not all."""
    ordered = sorted(names, key=lambda name: (position(seed, "split", name), name))
    if not fraction:
        return set()
    valid = [name for name in ordered if position(seed, "split", name) < fraction * POSITIONS]
    return set(valid[: len(ordered) - 1] or ordered[:1])


def valid_parts(sizes: Mapping[str, int], seed: int, fraction: float) -> list[str]:
    """Return the folders, with a slash at their ends, and files of one repository that are for validation, sorted.

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
    wanted, most = fraction * total, min(1.5 * fraction, (1 + fraction) / 2) * total
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


def lies_in(path: str, parts: Collection[str]) -> bool:
    """Whether a path is one of these files, or below one of these folders."""
    return any(_part(path, depth) in parts for depth in range(1, path.count("/") + 2))


def _part(path: str, depth: int) -> str:
    names = path.split("/")
    return "/".join(names[:depth]) + ("/" if len(names) > depth else "")

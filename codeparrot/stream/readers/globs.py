"""What a glob matches: what a folder would count, among the paths that fit the pattern.

Names that begin with `.` or `_` are passed over, unless a part of the pattern spells that character. `**` goes through links
as a walk does, so loops end. A folder that is reached in several ways is taken once, by its real path if that fits.
"""

import glob
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePath

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers.walk import files_below, is_hidden, is_set_aside

ANY_DEPTH = "**"


def parts_of(address: str) -> list[str]:
    """Return the parts of an address from its first wildcard on; none if it has no wildcard.

    Raises:
        CodeparrotError: the bucket has one.
    """
    scheme, _, path = address.partition("://")
    parts = path.rstrip("/").split("/")
    first = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    if not first:
        raise CodeparrotError(f"{address}: name the bucket, which no wildcard can stand for ({scheme}://NAME/...)")
    return parts[first:]


def is_passed_over(name: str, spelled: Sequence[str]) -> bool:
    """Whether a name is hidden from a glob, of whose parts `spelled` begin like hidden ones."""
    return is_hidden(name) and not any(fnmatchcase(name, part) for part in spelled)


def fixed_part(pattern: str) -> Path:
    """Return the folder in which a glob begins: what stands before its first wildcard."""
    parts = PurePath(pattern).parts
    return Path(*parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])


def expand(pattern: str) -> list[str]:
    """Return what a glob matches, in the order of the paths; with `**` only files.

    Raises:
        CodeparrotError: a folder that `**` leads to cannot be listed, or a file that fits is a link to nothing.
    """
    if not glob.has_magic(pattern):
        return [pattern] if Path(pattern).exists() else []
    root = fixed_part(pattern)
    parts = PurePath(pattern).parts[len(root.parts) :]
    spelled = [part for part in parts if is_hidden(part)]
    passed_over = partial(is_passed_over, spelled=spelled)
    if ANY_DEPTH in parts:
        found = files_below(root, passed_over, lambda relative: fits(PurePath(relative).parts, parts))
    else:
        found = [str(PurePath(each).relative_to(root)) for each in glob.glob(pattern)]
    found = [each for each in found if not any(map(passed_over, PurePath(each).parts)) and not is_set_aside(root, each)]
    by_place: dict[Path, Path] = {}
    for path in sorted((root / each for each in found), key=lambda path: (_is_linked(path), str(path))):
        by_place.setdefault(path.parent.resolve() / path.name, path)
    return sorted(map(str, by_place.values()))


def fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the parts of a path fit those of a pattern."""
    if not names or not parts:
        return not names and all(part == ANY_DEPTH for part in parts)
    if parts[0] == ANY_DEPTH:
        return fits(names, parts[1:]) or fits(names[1:], parts)
    return fnmatchcase(names[0], parts[0]) and fits(names[1:], parts[1:])


def _is_linked(path: Path) -> bool:
    return path.parent.resolve() != path.parent.absolute()

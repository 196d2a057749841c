"""From a name on this machine to its data files by split; the rule is in the package's docstring.

Cost: one listing of each folder. No file is opened.
"""

import glob
import logging
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path, PurePath
from typing import NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address, near, path_of
from codeparrot.stream.readers import listing, remote
from codeparrot.stream.readers.globs import expand, fits, fixed_part, is_passed_over, parts_of
from codeparrot.stream.readers.walk import files_below, is_hidden, is_set_aside, is_set_aside_in

logger = logging.getLogger("codeparrot")

PARQUET = (".parquet",)
JSON_LINES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
PACKED = (".gz", ".zst")
DATA = PARQUET + JSON_LINES
NO_DATA = frozenset(
    "README.json config.json dataset_dict.json dataset_info.json dataset_infos.json "
    "state.json statistics.json unfinished.json windows.json".split()
)
"""What `datasets`, the Hub and codeparrot write beside data."""
UNFINISHED = "unfinished.json"
"""Lies in a corpus, or in windows, at an address until all of it is there."""
SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The words that name a split, those of `datasets`."""
CONVERTED = "what `datasets` can load, its `to_parquet` writes as Parquet"
_STANDS_IN = {"valid": ("valid", "test")}
_SPLIT_OF_WORD = {word: split for split, words in SPLITS.items() for word in words}
_TABLE = re.compile(r"\.(?:jsonl?|ndjson|jl|parquet|pq|arrow)(?:\.(?:gz|gzip|zst|zstd|bz2|xz|lz4|br|sz|zip))?$", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")


class NoData(CodeparrotError):
    """A folder holds no file of a known kind."""


class NoSplit(CodeparrotError):
    """The data are divided into splits, and hold nothing of the one that is asked for."""

    def __init__(self, message: str, present: Sequence[str]) -> None:
        super().__init__(message)
        self.present = present
        """The splits that there are."""


class DataFiles(NamedTuple):
    """The data files that a name stands for, each list in the order of the paths."""

    name: str
    by_split: dict[str | None, list[str]]
    """Keyed by "train", "valid" and "test", and by what the Hub calls others; None holds the files that name no split."""

    @property
    def is_divided(self) -> bool:
        """Whether any file names its split."""
        return bool(self.splits)

    @property
    def splits(self) -> list[str]:
        """The splits that files name."""
        return sorted(filter(None, self.by_split), key=lambda split: [*SPLITS, split].index(split))

    def has(self, split: str) -> bool:
        """Whether some files belong to this split and no other."""
        return standing_for(split, self.splits) is not None

    def of(self, split: str) -> list[str]:
        """Return the files of a split; all files if the data are not divided. Files that belong to none are said once.

        Raises:
            NoSplit: the data are divided, and no file belongs to this split; or nothing is called so.
        """
        if not self.is_divided:
            if split not in _SPLIT_OF_WORD:
                raise NoSplit(f'{self.name} is not divided, and "{split}" is no split: {", ".join(SPLITS)}', list(SPLITS))
            return self.by_split.get(None, [])
        chosen = standing_for(split, self.splits)
        if chosen is None:
            named = ", ".join(f"{each} ({PurePath(self.by_split[each][0]).name})" for each in self.splits)
            raise NoSplit(
                f"{self.name} holds no {split} files, only {named}; rename files to {split}-*, or name other data", self.splits
            )
        if others := self.by_split.get(None):
            _say_left_out(self.name, others[0], len(others), self.by_split[self.splits[0]][0])
        return self.by_split[chosen]


@cache
def _say_left_out(name: str, file: str, count: int, other: str) -> None:
    what = f"{file} names no split and is" if count == 1 else f"{count} files name no split, such as {file}, and are"
    logger.warning("%s: %s left out, since %s names one; rename what is to be trained on to train-*", name, what, other)


@cache
def _say_unknown(name: str, file: str, count: int) -> None:
    what = f"{file} is" if count == 1 else f"{count} files, such as {file}, are"
    logger.warning("%s: %s left out, since only %s files are read; convert or move what is no such file", name, what, _kinds())


def is_data(path: str | PurePath) -> bool:
    """Whether a name ends like a file that can be read."""
    return PurePath(path).name.endswith(DATA)


def find_data(name: str) -> DataFiles:
    """Return the data files that a file, a folder or a glob stands for, here or at an address.

    Raises:
        CodeparrotError: there are none, one is of an unknown kind, or some cannot be reached.
    """
    if is_address(name):
        return _at(name)
    path = path_of(name)
    found = _in_folder(name, path) if path.is_dir() else _named(name, path)
    for file in chain.from_iterable(found.by_split.values()):
        try:
            file.encode()
        except UnicodeEncodeError:
            raise CodeparrotError(f"{file} has a name that is not UTF-8: rename it") from None
    return found


def _named(name: str, path: Path) -> DataFiles:
    files = [str(path)] if path.exists() else matches(str(path))
    if not files:
        hint = "" if glob.has_magic(name) else near(name)
        remedy = "; mend the path, or build a corpus with `codeparrot corpus build`"
        several = [each.strip() for each in name.split(",")]
        if len(several) > 1 and all(path_of(each).exists() for each in several):
            remedy = f"; write several as a list: [{', '.join(several)}] in a file, {' '.join(several)} on the command line"
        found = "matches nothing" if glob.has_magic(name) else "does not exist"
        raise CodeparrotError(f"{name} {found}{remedy}{hint}")
    for file in files:
        if Path(file).is_symlink() and not Path(file).exists():
            raise CodeparrotError(f"{file} is a link that leads nowhere: mend or remove it, since data would be missing")
        if not (is_data(file) and Path(file).is_file()):
            raise CodeparrotError(f"{file} is not a data file: unknown kind; name {_kinds()} files, or a folder of them")
    if path.exists():
        return DataFiles(name, {None: files})
    root = fixed_part(str(path))
    found = _by_split(name, root, [str(PurePath(file).relative_to(root)) for file in files])
    return found if "train" in found.splits and len(found.splits) > 1 else DataFiles(name, {None: files})


def _at(name: str) -> DataFiles:
    """Return the data files at an address, or at several with commas between them: the rule is that of folders here."""
    several = [each.strip() for each in name.split(",")]
    if len(several) > 1 and all(map(is_address, several)):
        joined: dict[str | None, list[str]] = {}
        for split, files in chain.from_iterable(_at(each).by_split.items() for each in several):
            joined.setdefault(split, []).extend(files)
        return DataFiles(name, joined)
    parts = [] if name.startswith(remote.WEB) else parts_of(name)
    root = name.rstrip("/").rsplit("/", len(parts))[0] if parts else name.rstrip("/")
    found = listing.files_below(root)
    if UNFINISHED in found:
        raise not_whole(root)
    if not parts and found.keys() == {""}:
        return DataFiles(name, {None: _checked([root])})
    if not found:
        raise remote.missing(name)
    if not parts and is_data(root) and remote.exists(root):
        raise CodeparrotError(f"{root} is a file, and a folder too; a glob says what is meant, such as {root}/*")
    if not parts:
        kept = [each for each in found if not any(map(is_hidden, PurePath(each).parts))]
        return _divided(name, root, [each for each in kept if not is_set_aside_in(found, each)])
    kept = _matching(name, found, parts)
    _checked([remote.below(root, each) for each in kept])
    by_split = _by_split(name, root, kept)
    divided = "train" in by_split.splits and len(by_split.splits) > 1
    return by_split if divided else DataFiles(name, {None: sorted(remote.below(root, each) for each in kept)})


def _matching(name: str, found: Collection[str], parts: Sequence[str]) -> list[str]:
    """Return which files at an address a glob matches, without what tools write beside data, by their paths."""
    spelled = [part for part in parts if is_hidden(part)]
    kept = [each for each in found if fits(PurePath(each).parts, parts) and not is_set_aside_in(found, each)]
    kept = [each for each in kept if not any(is_passed_over(part, spelled) for part in PurePath(each).parts)]
    kept = [each for each in kept if PurePath(each).name not in NO_DATA - {parts[-1]}]
    if not kept:
        raise CodeparrotError(f"{name} matches nothing; mend the address")
    return kept


def not_whole(address: str) -> CodeparrotError:
    """Return the error for a folder that is being uploaded."""
    return CodeparrotError(f"{address} has not been uploaded to its end: give the command that writes it again")


def matches_at(pattern: str) -> list[str]:
    """Return what a glob at an address matches, as `matches` does for one here.

    Raises:
        CodeparrotError: it matches nothing, or cannot be listed.
    """
    parts = parts_of(pattern)
    root = pattern.rstrip("/").rsplit("/", len(parts))[0]
    return sorted(remote.below(root, each) for each in _matching(pattern, listing.files_below(root), parts))


def _checked(files: list[str]) -> list[str]:
    for file in files:
        if not is_data(file):
            raise CodeparrotError(f"{file} is not a data file: unknown kind; name {_kinds()} files, or a folder of them")
    return files


def matches(pattern: str) -> list[str]:
    """Return what a glob matches, in the order of the paths, without what tools write beside data."""
    no_data = NO_DATA - {PurePath(pattern).name}
    return [each for each in expand(pattern) if PurePath(each).name not in no_data]


def standing_for(split: str, present: Collection[str]) -> str | None:
    """Return which split in `present`, by whatever word, is the one asked for, by whatever word; None if there is none."""
    if split in present:
        return split
    by_meaning = {known_as(each): each for each in present}
    meaning = known_as(split)
    return next((by_meaning[each] for each in _STANDS_IN.get(meaning, (meaning,)) if each in by_meaning), None)


def known_as(word: str) -> str:
    """Return "train", "valid" or "test" for a word that names this split; any other as it is."""
    return _SPLIT_OF_WORD.get(word, word)


def split_of(relative: str | PurePath) -> str | None:
    """Return the split that a path below the named folder names."""
    for part in reversed(PurePath(relative).parts):
        for word in _WORD.findall(part.lower()):
            if word in _SPLIT_OF_WORD:
                return _SPLIT_OF_WORD[word]
    return None


def _in_folder(name: str, folder: Path) -> DataFiles:
    found = files_below(folder, is_hidden, lambda relative: _counts(relative) or _is_like_data(relative))
    return _divided(name, folder, [each for each in found if not is_set_aside(folder, each)])


def _divided(name: str, folder: Path | str, found: list[str]) -> DataFiles:
    """Return the data files among those below a folder, which may be an address, by their splits."""
    kept = [each for each in found if _counts(each) or _is_like_data(each)]
    unknown = sorted(each for each in kept if not _counts(each))
    if len(unknown) == len(kept):
        more = f", but {unknown[0]}" if unknown else ""
        how = f" ({CONVERTED})" if unknown else ""
        raise NoData(f"{name} holds no Parquet or JSONL files{more}; name a folder of {_kinds()} files{how}")
    if unknown:
        _say_unknown(name, _joined(folder, unknown[0]), len(unknown))
    return _by_split(name, folder, filter(_counts, kept))


def _by_split(name: str, folder: Path | str, files: Iterable[str]) -> DataFiles:
    by_split: dict[str | None, list[str]] = {}
    for relative in sorted(files, key=lambda each: _joined(folder, each)):
        by_split.setdefault(split_of(relative), []).append(_joined(folder, relative))
    return DataFiles(name, by_split)


def _joined(folder: Path | str, relative: str) -> str:
    return remote.below(folder, relative) if isinstance(folder, str) else str(folder / relative)


def _counts(relative: str) -> bool:
    return is_data(relative) and PurePath(relative).name not in NO_DATA


def _is_like_data(relative: str) -> bool:
    """Whether a file is a table that is not read: of another kind, packed otherwise, or spelled in capitals."""
    return not is_data(relative) and _TABLE.search(PurePath(relative).name) is not None


def _kinds() -> str:
    return ", ".join(DATA)

"""From a name on this machine to its data files by split; the rule is in the package's docstring.

Cost: one listing of each folder. No file is opened.
"""

import glob
import re
from collections.abc import Collection
from pathlib import Path, PurePath
from typing import NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.location import near
from codeparrot.stream.readers.walk import Walk

PARQUET = (".parquet",)
JSON_LINES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
PACKED = (".gz", ".zst")
DATA = PARQUET + JSON_LINES
NO_DATA = frozenset(
    "README.json config.json dataset_dict.json dataset_info.json dataset_infos.json "
    "state.json statistics.json windows.json".split()
)
"""What `datasets`, the Hub and codeparrot write beside data."""
SPLITS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The words that name a split, those of `datasets`."""
_STANDS_IN = {"train": ("train",), "valid": ("valid", "test")}
_SPLIT_OF_WORD = {word: split for split, words in SPLITS.items() for word in words}
_WORD = re.compile(r"[^\W\d_]+")


class DataFiles(NamedTuple):
    """The data files that a name stands for, each list in the order of the paths."""

    name: str
    by_split: dict[str | None, list[str]]
    """Keyed by "train", "valid" and "test"; None holds the files that name no split."""

    @property
    def is_divided(self) -> bool:
        """Whether any file names its split."""
        return any(split is not None for split in self.by_split)

    def has(self, split: str) -> bool:
        """Whether some files belong to this split and no other."""
        return standing_for(split, [each for each in self.by_split if each is not None]) is not None

    def of(self, split: str) -> list[str]:
        """Return the files of "train" or "valid"; all files if the data are not divided.

        Raises:
            CodeparrotError: the data are divided, and no file belongs to this split.
        """
        if not self.is_divided:
            return self.by_split.get(None, [])
        chosen = standing_for(split, [each for each in self.by_split if each is not None])
        if chosen is None:
            other = next(file for each, files in sorted(self.by_split.items(), key=str) if each for file in files)
            raise CodeparrotError(
                f"{self.name} holds no {split} files, though {PurePath(other).name} names its split; "
                f"rename files to {split}-*, or name the files of the {split} split"
            )
        return self.by_split[chosen]


def is_data(path: str | PurePath) -> bool:
    """Whether a name ends like a file that can be read."""
    return PurePath(path).name.endswith(DATA)


def find_data(name: str) -> DataFiles:
    """Return the data files that a file, a folder or a glob stands for.

    Raises:
        CodeparrotError: there are none, one is of an unknown kind, or some cannot be reached.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(name, path)
    files = [str(path)] if path.exists() else matches(str(path))
    if not files:
        hint = "" if glob.has_magic(name) else near(name)
        remedy = "; mend the path, or build a corpus with `codeparrot corpus build`"
        found = "matches nothing" if glob.has_magic(name) else "does not exist"
        raise CodeparrotError(f"{name} {found}{remedy}{hint}")
    for file in files:
        if not (is_data(file) and Path(file).is_file()):
            raise CodeparrotError(f"{file} is not a data file: unknown kind; name {_kinds()} files, or a folder of them")
    return DataFiles(name, {None: files})


def matches(pattern: str) -> list[str]:
    """Return what a glob matches, in the order of the paths, without what tools write beside data."""
    no_data = NO_DATA - {PurePath(pattern).name}
    return sorted(each for each in glob.glob(pattern, recursive=True) if PurePath(each).name not in no_data)


def standing_for(split: str, present: Collection[str]) -> str | None:
    """Return which split in `present`, by whatever word, is "train" or "valid"; None if there is none."""
    by_meaning = {_SPLIT_OF_WORD.get(each, each): each for each in present}
    return next((by_meaning[each] for each in _STANDS_IN[split] if each in by_meaning), None)


def split_of(relative: str | PurePath) -> str | None:
    """Return the split that a path below the named folder names."""
    for part in reversed(PurePath(relative).parts):
        for word in _WORD.findall(part.lower()):
            if word in _SPLIT_OF_WORD:
                return _SPLIT_OF_WORD[word]
    return None


def _in_folder(name: str, folder: Path) -> DataFiles:
    walk = Walk(folder, _is_hidden)
    found = [each for each in walk if _counts(each)]
    lost = sorted([*walk.unreadable, *filter(_counts, walk.dangling)])
    if lost:
        what = "cannot be listed; check its permissions" if lost[0] in walk.unreadable else "is a link that leads nowhere"
        raise CodeparrotError(f"{folder / lost[0]} {what}: mend or remove it, since data would be missing")
    if not found:
        raise CodeparrotError(f"{name} holds no Parquet or JSONL files; name a folder of {_kinds()} files")
    by_split: dict[str | None, list[str]] = {}
    for relative in sorted(found, key=lambda each: str(folder / each)):
        by_split.setdefault(split_of(relative), []).append(str(folder / relative))
    return DataFiles(name, by_split)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _counts(relative: str) -> bool:
    return is_data(relative) and PurePath(relative).name not in NO_DATA


def _kinds() -> str:
    return ", ".join(DATA)

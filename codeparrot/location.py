"""What a name on the command line means: a folder on this machine or a repository on the Hub.

Guarantees: a mistyped path is refused at once, with the nearest one that exists, and is never looked for on the Hub. So is a
name of the Hub's form that is nearly that of a folder here; hub:NAME is always on the Hub.
"""

import difflib
import re
from pathlib import Path
from typing import NamedTuple

from codeparrot.errors import CodeparrotError, nearest

HUB = "hub:"
"""Prefix of a name on the Hub; optional where the name cannot be a folder here."""
HUB_NAME = re.compile(r"(hub:)?([\w\-][\w.\-]*(?:/[\w\-][\w.\-]*)?)(?:@([\w\-][\w./\-]*))?")
"""`name` or `owner/name`, as the Hub spells them, optionally with `@` and a branch, tag or commit."""
GGUF = ".gguf"
"""Suffix of a file that holds a model and its tokenizer, for llama.cpp; transformers reads it with the package gguf."""


class Branch(NamedTuple):
    """Where a run is pushed to."""

    repo: str
    branch: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.branch}"


def is_hub_name(name: str) -> bool:
    """Whether this could be the name of something on the Hub."""
    return HUB_NAME.fullmatch(name) is not None


def split_hub_name(name: str) -> tuple[str, str | None]:
    """Return the repository and the revision of `[hub:]owner/name[@revision]`.

    Raises:
        CodeparrotError: the name has another form.
    """
    parts = HUB_NAME.fullmatch(name)
    if parts is None:
        raise CodeparrotError(f'"{name}" is not a name on the Hub; write owner/name, or owner/name@revision')
    return parts[2], parts[3]


def local_folder(name: str) -> Path | None:
    """Return the folder that `name` means, or None where only the Hub can have it.

    Raises:
        CodeparrotError: it means a folder that does not exist, or a file.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CodeparrotError(f'"{name}" is a file: name the folder that holds it')
    # owner/name is a name on the Hub, unless there is a folder called owner here.
    elsewhere = name.startswith(HUB) or path.parent == Path() or not Path(name.partition("@")[0]).parent.exists()
    on_hub = is_hub_name(name) and elsewhere
    hint = "" if name.startswith(HUB) else near(name.partition("@")[0] if on_hub else name, _NEARLY if on_hub else _CLOSE)
    if on_hub and not hint:
        return None
    raise CodeparrotError(f'there is no folder "{name}"{hint}{f" On the Hub it is {HUB}{name}" if on_hub else ""}')


_CLOSE, _NEARLY = 0.5, 0.8
"""Shares of equal letters: of a name that is a path, and of one that may as well be on the Hub."""


def near(name: str, closeness: float = _CLOSE) -> str:
    """Return `; did you mean "x"?` for what exists here and is called nearly as `name`; its folder may be mistyped too."""
    path = Path(name).expanduser()
    parents = [path.parent] if path.parent.is_dir() else _called_nearly(path.parent, closeness)
    found = [str(each) for parent in parents for each in _called_nearly(parent / path.name, closeness)]
    return nearest(str(path), found, 0.0)


def _called_nearly(path: Path, closeness: float) -> list[Path]:
    """Return what stands beside a path that does not exist and is called nearly as it; nothing where that cannot be known."""
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return []
    return [path.parent / close for close in difflib.get_close_matches(path.name, names, cutoff=closeness)]

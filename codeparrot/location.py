"""What a name on the command line means: a folder on this machine or a repository on the Hub.

Guarantees: a mistyped path is refused at once, with the nearest one that exists, and is never looked for on the Hub.
"""

import re
from pathlib import Path
from typing import NamedTuple

from codeparrot.errors import CodeparrotError, nearest

HUB = "hub:"
"""Prefix of a name on the Hub; optional where the name cannot be a folder here."""
HUB_NAME = re.compile(r"(hub:)?([\w\-][\w.\-]*(?:/[\w\-][\w.\-]*)?)(?:@([\w\-][\w./\-]*))?")
"""`name` or `owner/name`, as the Hub spells them, optionally with `@` and a branch, tag or commit."""
LENT_HOME = "codeparrot-home-"
"""Begins the name of the folder that a process gets whose user has no home. It ends with the process."""
GGUF = ".gguf"
"""Suffix of a file that holds a model and its tokenizer, for llama.cpp; transformers reads it with the package gguf."""


def path_of(name: str | Path) -> Path:
    """Return the path that a user wrote. Shells leave the ~ in `--output=~/x` and in a YAML file as it is.

    Raises:
        CodeparrotError: it begins with ~ and there is no such home folder, or only the lent one.
    """
    path = Path(name)
    if not path.parts[:1] or not path.parts[0].startswith("~"):
        return path
    try:
        home = Path(path.parts[0]).expanduser()
    except RuntimeError:
        home = None
    if home is None or home.name.startswith(LENT_HOME):
        raise CodeparrotError(f'"{name}": there is no home folder {path.parts[0]}; write the whole path')
    return home.joinpath(*path.parts[1:])


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
    path = path_of(name)
    if path.is_dir():
        return path
    if path.exists():
        raise CodeparrotError(f'"{name}" is a file: name the folder that holds it')
    # owner/name is a name on the Hub, unless there is a folder called owner here.
    elsewhere = name.startswith(HUB) or path.parent == Path() or not Path(name.partition("@")[0]).parent.exists()
    if is_hub_name(name) and elsewhere:
        return None
    siblings = [str(sibling) for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    raise CodeparrotError(f'there is no folder "{name}"{nearest(str(path), siblings)}')

"""What a name on the command line means: a folder on this machine or a repository on the Hub.

Guarantees: a mistyped path is refused at once, with the nearest one that exists, and is never looked for on the Hub. So is a
name of the Hub's form that is nearly that of a folder here; hub:NAME is always on the Hub. The `config.yaml` of a run directory
that has checkpoints means that run, wherever the directory was moved or copied to. `file://` is this machine; data may also lie
at an address of one of SCHEMES (stream/readers/remote.py).
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from codeparrot.errors import CodeparrotError, nearest

if TYPE_CHECKING:
    from codeparrot.config import Config

HUB = "hub:"
"""Prefix of a name on the Hub; optional where the name cannot be a folder here."""
HUB_NAME = re.compile(r"(hub:)?([\w\-][\w.\-]*(?:/[\w\-][\w.\-]*)?)(?:@([\w\-][\w./\-]*))?")
"""`name` or `owner/name`, as the Hub spells them, optionally with `@` and a branch, tag or commit."""
LENT_HOME = "codeparrot-home-"
"""Begins the name of the folder that a process gets whose user has no home. It ends with the process."""
GGUF = ".gguf"
"""Suffix of a file that holds a model and its tokenizer, for llama.cpp; transformers reads it with the package gguf."""

FILE = "file://"
SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss", "https", "http")
"""What data may be read from. Others of fsspec chain, unpack or run something (`zip::`, `reference::`, `ssh`), or are other
names for the disk: they are refused, since an address may come from a file that somebody else wrote."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)(?:://|::)")
ON_HUB = "hf://"
"""Begins the addresses that `datasets` and readers/hub.py give to files of the Hub."""


def is_address(name: object) -> bool:
    """Whether a name is meant for another machine: it begins as `scheme://` does, and not as `file://`."""
    return isinstance(name, str) and _SCHEME.match(name) is not None and not name.startswith((FILE, ON_HUB))


def check_address(address: str) -> None:
    """Check that an address is one that may be read from or written to.

    Raises:
        CodeparrotError: its scheme is another than SCHEMES, it holds credentials, or it is chained.
    """
    shown = without_credentials(address)
    found = _SCHEME.match(address)
    scheme = found[1] if found else ""
    if "::" in address or scheme not in SCHEMES:
        hint = nearest(scheme, SCHEMES, 0.6)
        raise CodeparrotError(f"{shown} is of no kind that is read{hint}; data may lie at {', '.join(SCHEMES)}://... or here")
    place = address.partition("://")[2].partition("/")[0]
    is_web = scheme in ("https", "http")
    if ("@" in place and (":" in place or not scheme.startswith(("az", "abfs")))) or (is_web and re.search("[?#]", address)):
        how = "~/.netrc or FSSPEC_HTTPS_* of the environment" if is_web else "the environment or a profile"
        raise CodeparrotError(
            f"{shown}: an address must hold no credentials and no query, since it is written into the configuration and the "
            f"log; put them where fsspec finds them ({how})"
        )
    if not place:
        raise CodeparrotError(f"{shown} names no {'server' if is_web else 'bucket'}; write {scheme}://NAME/...")


def without_credentials(address: str) -> str:
    """Return an address as it may be shown: without user, password and query."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    hidden = f"***@{host}" if at and (":" in user or not scheme.startswith(("az", "abfs"))) else place
    if scheme in ("https", "http"):
        path = re.split("[?#]", path, maxsplit=1)[0]
        hidden = re.split("[?#]", hidden, maxsplit=1)[0]
    return f"{scheme}://{hidden}{slash}{path}"


def path_of(name: str | Path) -> Path:
    """Return the path that a user wrote. Shells leave the ~ in `--output=~/x` and in a YAML file as it is.

    Raises:
        CodeparrotError: it begins with ~ and there is no such home folder, or only the lent one; or it is an address, which
            would name a folder `s3:` here.
    """
    if is_address(name):
        raise CodeparrotError(
            f"{without_credentials(str(name))} is an address, where a folder or a file here is asked for; name one"
        )
    path = Path(name.removeprefix(FILE) if isinstance(name, str) else name)
    if not path.parts[:1] or not path.parts[0].startswith("~"):
        return path
    try:
        home = Path(path.parts[0]).expanduser()
    except RuntimeError:
        home = None
    if home is None or home.name.startswith(LENT_HOME):
        raise CodeparrotError(f'"{name}": there is no home folder {path.parts[0]}; write the whole path')
    return home.joinpath(*path.parts[1:])


def last_part(name: str) -> str:
    """Return the last part of an address, or of a path here, whose links are followed."""
    return name.rstrip("/").rpartition("/")[2] if is_address(name) else path_of(name).resolve().name


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
    on_hub = is_hub_name(name) and elsewhere
    hint = "" if name.startswith(HUB) else near(name.partition("@")[0] if on_hub else name, _NEARLY if on_hub else _CLOSE)
    if on_hub and not hint:
        return None
    raise CodeparrotError(f'there is no folder "{name}"{hint}{f" On the Hub it is {HUB}{name}" if on_hub else ""}')


_CLOSE, _NEARLY = 0.5, 0.8
"""Shares of equal letters: of a name that is a path, and of one that may as well be on the Hub."""


def near(name: str, closeness: float = _CLOSE) -> str:
    """Return `; did you mean "x"?` for what is called nearly as `name`, which is not here; its folder may be mistyped too."""
    path = path_of(name)
    if path.exists():
        return ""
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


def stay_at_home(config: "Config", arguments: Sequence[str]) -> str:
    """Have a run that was moved or copied go on where its `--config DIRECTORY/config.yaml` is, and not where that file says.

    Args:
        config: what `arguments` describe; it is changed.
        arguments: words of a command. Where they say themselves which run is meant, that holds.

    Returns:
        What was done, in words; empty if nothing was.
    """
    flags = [word.partition("=") for word in arguments]
    values = [value if equals else after for (_, equals, value), after in zip(flags, [*arguments[1:], ""], strict=False)]
    files = [path_of(value) for (flag, _, _), value in zip(flags, values, strict=True) if flag == "--config"]
    file = next((each for each in reversed(files) if _has_checkpoints(each)), None)
    said = config.run_directory
    if file is None or any(flag in ("--run", "--run.name", "--run.dir") for flag, _, _ in flags) or not _says(file, config):
        return ""
    home = file.parent.resolve()
    if home == path_of(said).resolve():
        return ""
    config.run.name, config.run.dir = home.name, str(home.parent)
    return f"{file} says {said}, but lies with the checkpoints of a run that was moved or copied: this is about {home}"


def _has_checkpoints(file: Path) -> bool:
    return file.name == "config.yaml" and any(file.parent.glob("checkpoints/step_*/manifest.json"))


def _says(file: Path, config: "Config") -> bool:
    """Whether the name and the folder of the run are those in a file."""
    import yaml

    run = yaml.safe_load(file.read_text(encoding="utf-8")).get("run") or {}
    return (run.get("name", config.run.name), run.get("dir", config.run.dir)) == (config.run.name, config.run.dir)

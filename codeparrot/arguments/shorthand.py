"""Shorthand of a command line, written out: sizes with units in bytes, settings named by a recipe, what is usually meant."""

import re
from collections.abc import Sequence
from pathlib import Path

from codeparrot.arguments.words import recipes
from codeparrot.errors import CodeparrotError, nearest
from codeparrot.location import near, path_of

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMGT]?)(i?)B?")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def in_bytes(arguments: Sequence[str]) -> list[str]:
    """Write the sizes of flags that count bytes as numbers: 100MB is 100000000, 64KiB is 65536."""
    written, before = [], ""
    for word in arguments:
        flag, equals, value = word.partition("=") if word.startswith("--") else (before, "", word)
        size = _SIZE.fullmatch(value) if flag.replace("-", "_").endswith(("_bytes", "max_size")) else None
        count = str(round(float(size[1]) * (1024 if size[3] else 1000) ** _POWERS[size[2]])) if size else value
        before = f"{flag}={count}" if equals else word if word.startswith("--") else count
        written.append(before)
    return written


def config_named(arguments: Sequence[str]) -> list[str]:
    """Write a file at the beginning (`train nano.yaml`) as --config, and a recipe that ships by its path where no file is."""
    words = [*arguments]
    if words and not words[0].startswith("-"):
        words.insert(0, "--config")
    for place, word in enumerate(words[1:], start=1):
        if words[place - 1] == "--config":
            words[place] = _recipe(word)
    return [f"--config={_recipe(word.partition('=')[2])}" if word.startswith("--config=") else word for word in words]


def _recipe(name: str) -> str:
    shipped = {f"{stem}{ending}": str(file) for stem, file in recipes("").items() for ending in ("", ".yaml")}
    if (path_of(name) / "config.yaml").is_file():
        raise CodeparrotError(f'"{name}" is a folder; name the settings in it: {Path(name) / "config.yaml"}')
    if path_of(name).exists():
        return name
    if name in shipped:
        return shipped[name]
    raise CodeparrotError(f'there is no file "{name}"{nearest(name, shipped) or near(name)}')

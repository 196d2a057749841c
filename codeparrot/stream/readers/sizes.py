"""Size and version of a data file, here or at an address."""

from pathlib import Path

from codeparrot.location import ON_HUB
from codeparrot.stream.readers import remote
from codeparrot.stream.readers.rows import is_remote


def size_of(file: str | Path | remote.Place) -> int:
    """Return the bytes of a file."""
    return remote.info(str(file)).size if is_remote(file) else Path(str(file)).stat().st_size


def version_of(file: str | Path | remote.Place) -> str:
    """Return what changes with the content of a file at an address; empty for one here or on the Hub."""
    return remote.info(str(file)).version if is_remote(file) and not str(file).startswith(ON_HUB) else ""

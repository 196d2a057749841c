"""What a sandbox sees of the file system: the running Python, the system's libraries, and the data that they read.

Everything is read-only. The standard library reads some data from outside itself: time zones, names of ports, Tcl, terminals.
The names of hosts and of the one user (`etc/` beside this file) are the same in every sandbox; no file in it describes the
machine or its users.
"""

import functools
import importlib.util
import os
import sys
import sysconfig
import zoneinfo
from pathlib import Path

INSIDE = Path(__file__).parent / "inside"
PACKAGES = "/packages"
ZONES = "/usr/share/zoneinfo"
"""Where the C library looks for time zones. Python may look elsewhere."""
_ETC = Path(__file__).parent / "etc"
_DATA = ("/etc/services", "/etc/protocols", "/usr/share/tcltk", "/usr/share/terminfo")
"""Data of the system, where it is installed."""


def sources(packages: list[Path]) -> list[tuple[str, str]]:
    """Return the folders and files of a sandbox, each with its place in it.

    Args:
        packages: folders of Python packages that can be imported in it.
    """
    found = [(path, path) for path in (*_python(), *filter(os.path.exists, _DATA))]
    found += [(str(file), f"/etc/{file.name}") for file in _ETC.iterdir()]
    folder = zones()
    if folder is not None:
        found += [(str(folder), place) for place in dict.fromkeys((ZONES, *zoneinfo.TZPATH[:1]))]
    found.append((str(INSIDE), "/inside/inside"))
    return found + [(str(folder), f"{PACKAGES}/{folder.name}") for folder in packages]


def zones() -> Path | None:
    """Return the folder of time zones: the system's, else that of the package tzdata, else None."""
    package = importlib.util.find_spec("tzdata")
    packaged = [Path(place, "zoneinfo") for place in package.submodule_search_locations or ()] if package else []
    return next((place for place in (*map(Path, zoneinfo.TZPATH), *packaged) if (place / "UTC").is_file()), None)


def system() -> list[str]:
    """Return the options that mount the system's libraries; the programs of /bin and /usr/bin stay outside."""
    words = []
    for path in map(Path, ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")):
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            words += ["--ro-bind", str(path), str(path)]
    return words


def executable() -> str:
    """Return the running interpreter; in a virtual environment, the one it was made from."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def open_to_all(path: str) -> bool:
    """Return whether every user may reach a path and read it."""
    end = Path(path).resolve()
    ways = {*Path(path).absolute().parents, *end.parents}
    return all(folder.stat().st_mode & 0o001 for folder in ways) and bool(end.stat().st_mode & 0o004)


@functools.cache
def numpy_folders() -> list[Path]:
    """Return the folders of NumPy, which the tests of HumanEval+ import; none where it is not installed."""
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent
    return [path for path in (folder, folder.with_name("numpy.libs")) if path.is_dir()]


def _python() -> list[str]:
    """Return the folders and files of the running Python: interpreter, standard library, shared libraries."""
    prefix = Path(sys.base_prefix)
    paths = [executable()]
    if prefix != Path("/usr"):
        paths += [str(prefix / name) for name in ("lib", "lib64") if (prefix / name).is_dir()]
    stdlib, header = sysconfig.get_path("stdlib"), sysconfig.get_config_h_filename()
    if not any(Path(stdlib).is_relative_to(path) for path in (*paths, "/usr/lib", "/usr/lib64")):
        paths.append(stdlib)
    if Path(header).is_file():
        paths.append(header)
    return paths

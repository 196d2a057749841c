"""The tasks of a build, from files to files: a task whose output is there is done, whatever happened since.

A task writes its folder beside its place and renames it. So a build that is killed at any point loses at most the tasks that
were under way, and the same command goes on with the others. The work is begun anew when the settings, the listing of the
sources or the version of the program are not those that it was begun with.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IDENTITY = "identity.json"
UNFINISHED = ".unfinished-"


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder that takes its place when the block ends without an error. What is in that place already stays."""
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=place.parent))
    try:
        yield folder
        folder.chmod(0o755)
        try:
            folder.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_json(file: Path, value: Any) -> None:
    """Write a file that is there as a whole or not at all."""
    unfinished = file.with_name(UNFINISHED + file.name)
    unfinished.write_text(json.dumps(value), encoding="utf-8")
    unfinished.replace(file)


class Work:
    """The folder of a build's tasks.

    Args:
        folder: for nothing else.
        identity: JSON of everything that the output depends on.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        known = _read(folder / IDENTITY)
        identity = json.loads(json.dumps(identity))
        if known is not None and known != identity:
            changed = ", ".join(sorted(name for name in {*known, *identity} if known.get(name) != identity.get(name)))
            print(f"codeparrot: what an interrupted build left is not used: other {changed}", file=sys.stderr)
        if known != identity:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            write_json(folder / IDENTITY, identity)
        else:
            self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        for parent, folders, _ in os.walk(self.folder):
            for name in [each for each in folders if each.startswith(UNFINISHED)]:
                shutil.rmtree(Path(parent) / name)
                folders.remove(name)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

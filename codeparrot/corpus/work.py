"""The tasks of a build, from files to files: a task whose output is there is done, whatever happened since.

A task writes its folder beside its final place, flushes it to the disk and renames it (files.py). So a build that is killed at
any point loses at most the tasks under way, and the same command goes on with the others. The work starts again if the
settings, the listing of the sources or the version of the program have changed since it began.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.files import UNFINISHED, read_object, write_json

IDENTITY = "identity.json"


class Work:
    """The folder of a build's tasks.

    Args:
        folder: used for nothing else.
        identity: everything that the output depends on, as JSON.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        known = _read(folder / IDENTITY)
        identity = json.loads(json.dumps(identity))
        if known is not None and known != identity:
            changed = ", ".join(sorted(name for name in {*known, *identity} if known.get(name) != identity.get(name)))
            why = f"different {changed}" if known else f"{folder / IDENTITY}, which says what it is of, is damaged"
            print(f"codeparrot: the work of an interrupted build is not used: {why}", file=sys.stderr)
        if known != identity:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            write_json(folder / IDENTITY, identity)
        else:
            self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        for parent, folders, files in os.walk(self.folder):
            for name in [each for each in folders if each.startswith(UNFINISHED)]:
                shutil.rmtree(Path(parent) / name)
                folders.remove(name)
            for name in (each for each in files if each.startswith(UNFINISHED)):
                (Path(parent) / name).unlink()


def read_facts(file: Path) -> Any:
    """Return what a task wrote down when it was done.

    Raises:
        CodeparrotError: the file is missing or damaged.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        remedy = f"remove {file.parent} and run the same command again: only that part is done again"
        raise CodeparrotError(f"{file} cannot be read ({error}); {remedy}") from error


def _read(file: Path) -> dict[str, Any] | None:
    """Return an identity; empty where it is damaged, None where there is none."""
    try:
        return read_object(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}

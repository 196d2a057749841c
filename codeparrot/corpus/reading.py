"""The first phase: turns a few units of a source into a segment of judged documents."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from codeparrot.corpus.documents import Record, Removed, Unit
from codeparrot.corpus.judge import Rules, judge, refused
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.segments import SegmentWriter
from codeparrot.corpus.sources.listing import digest
from codeparrot.corpus.sources.safety import lost_with
from codeparrot.files import new_folder
from codeparrot.stream.losses import OnError, refuse
from codeparrot.stream.readers.rows import Damaged

UNITS = 4
"""In a task."""


class ReadTask(NamedTuple):
    units: list[Unit]
    output: Path
    """The segment. Its name holds a hash of the units' keys, so other units have another segment."""


class Reader(NamedTuple):
    """How every task judges."""

    rules: Rules
    near: NearDuplicates
    keep_removed: int
    on_error: OnError = "stop"


def read_tasks(units: Iterable[Unit], folder: Path) -> Iterator[ReadTask]:
    """Yield the tasks that read all units, in order."""
    waiting, number = iter(units), 0
    while some := list(islice(waiting, UNITS)):
        keys = digest(*(unit.key for unit in some))[:16]
        yield ReadTask(some, folder / f"{number:07d}-{keys}")
        number += 1


def read(task: ReadTask, reader: Reader) -> None:
    """Write the segment of a task, unless it is already there."""
    if task.output.exists():
        return
    with new_folder(task.output) as folder:
        writer = SegmentWriter(folder, reader.near, reader.rules.seed, reader.keep_removed)
        for unit in task.units:
            for record in _records(unit, reader.on_error):
                writer.add(refused(record) if isinstance(record, Removed) else judge(record, reader.rules))
        writer.close()


def _records(unit: Unit, on_error: OnError) -> Iterator[Record | Removed]:
    try:
        yield from unit.records()
    except Damaged as damaged:
        if on_error == "stop":
            refuse(damaged)
        yield from lost_with(damaged)

"""`codeparrot runs`: which runs there are, how far and how good they are, and what each needs.

A line a run, in 120 columns. Nothing is changed: it may be asked while runs are training.
"""

from collections.abc import Sequence

from codeparrot.figures import count_in_words
from codeparrot.markdown_tables import clean
from codeparrot.result import Result
from codeparrot.runs.reading import BROKEN, FOREIGN, Facts, as_data, read_runs, short

HEADER = ("run", "state", "step", "of", "loss", "bits/byte", "tokens/s", "left", "saved", "hub", "mirror", "from")
WIDTH = 120
"""Columns."""
NAME, LEAST_NAME, PARENT, REASON = 26, 8, 12, 60
"""Most characters of a run's name, what is left of it where a line is too long, of its parent's, and of what is wrong."""
LEFT_ALIGNED = (0, 1, 11)


def runs(folder: str) -> Result:
    """List runs: state, steps, loss, bits a byte of the last evaluation, speed, time left, newest checkpoint, and parent.

    Those that train come first, then those that wrote last. "died" is a run whose process was killed; its command goes on.

    Args:
        folder: Folder of runs (run.dir), or one run; by default runs.
    """
    found = read_runs(folder)
    known = [run for run in found if run.state not in (BROKEN, FOREIGN)]
    lines = _fitting(known) if known else []
    lines += [f"{short(clean(run.name), NAME)}: {run.state}: {short(clean(run.problem), REASON)}" for run in _odd(found)]
    return Result("\n".join(lines), {"folder": folder, "runs": list(map(as_data, found))})


def _fitting(known: Sequence[Facts]) -> list[str]:
    """Return the table, its names as short as the line demands."""
    widest = max(map(len, _table([HEADER, *(_row(run, NAME) for run in known)])))
    name = max(LEAST_NAME, NAME - max(0, widest - WIDTH))
    return _table([HEADER, *(_row(run, name) for run in known)])


def _odd(found: Sequence[Facts]) -> list[Facts]:
    return [run for run in found if run.problem]


def _row(run: Facts, name: int) -> tuple[str, ...]:
    parent = f"{short(clean(run.parent['name']), PARENT)}@step_{run.parent['step']}" if run.parent else ""
    hub = "" if run.waiting is None else f"{run.waiting} wait" if run.waiting else "pushed"
    return (
        short(clean(run.name), name),
        run.state,
        _count(run.step),
        _count(run.max_steps),
        "" if run.loss is None else f"{run.loss:.3f}",
        "" if run.bits_per_byte is None else f"{run.bits_per_byte:.3f}",
        "" if run.tokens_per_second is None else count_in_words(run.tokens_per_second),
        "" if run.seconds_left is None else duration(run.seconds_left),
        _count(run.checkpoint),
        hub,
        "" if run.mirror_waiting is None else f"{run.mirror_waiting} wait" if run.mirror_waiting else "copied",
        parent,
    )


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}" if abs(value) < 1e9 else count_in_words(value)


def duration(seconds: float) -> str:
    """Return a time in two units: 3d 4h, 5h 20m, 12m, 40s."""
    for name, size, smaller, unit in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{name} {int(seconds % size // unit)}{smaller}"
    return f"{int(seconds // 60)}m" if seconds >= 60 else f"{int(seconds)}s"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows as text; a column in which nothing stands is left out."""
    shown = [column for column in range(len(HEADER)) if any(row[column] for row in rows[1:])]
    width = {column: max(len(row[column]) for row in rows) for column in shown}
    return [
        "  ".join(
            row[column].ljust(width[column]) if column in LEFT_ALIGNED else row[column].rjust(width[column]) for column in shown
        ).rstrip()
        for row in rows
    ]

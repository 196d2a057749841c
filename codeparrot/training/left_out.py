"""What `stream.on_error: skip` leaves out: counted, said, and listed in `damaged.jsonl`.

A line names the file and the place in it, the documents that are lost with it (null if that cannot be known), the problem, and
the step by which it was met. A place has one line, however many lanes, epochs and interruptions meet it: a run that goes on
keeps the lines up to its checkpoint, and meets again what lies behind.
"""

import logging
from collections.abc import Iterable
from typing import Any

from codeparrot.config import Config
from codeparrot.run.metrics import MetricsLog, read_lines
from codeparrot.stream.losses import MOST_SAID, counts, in_words
from codeparrot.stream.readers.rows import Damaged, Where
from codeparrot.training.agreement import Agreement

logger = logging.getLogger("codeparrot")

DAMAGED = "damaged.jsonl"
NO_PLACE = ("documents", "problem", "step")


class LeftOut:
    """Every process makes one; only the main one writes.

    Args:
        config: of the run.
        agreement: of its processes.
        main: whether this is the main process.
        step: from which the run goes on.
    """

    def __init__(self, config: Config, agreement: Agreement, main: bool, step: int) -> None:
        self._is_on = config.stream.on_error == "skip"
        self._agreement, self._main = agreement, main
        self._sent: set[Where] = set()
        self._places: dict[str, int | None] = {}
        self._said = 0
        self._path = config.run_directory / DAMAGED
        if main and self._is_on:
            self._log = MetricsLog(self._path, step)
            known = read_lines(self._path, _is_place) if step and self._path.exists() else []
            self._places = {_place(line): line["documents"] for line in known}
            logger.info("on_error    skip: damaged data are left out, and listed in %s", self._path)
            if known:
                logger.warning("%s so far", self)

    def add(self, step: int, damaged: Iterable[Damaged]) -> dict[str, int]:
        """Note what this process has met, and return the counts of all processes for the metrics. All processes call this.

        Args:
            step: the run's.
            damaged: may hold what was added before.
        """
        if not self._is_on:
            return {}
        fresh = [each for each in damaged if each.where not in self._sent]
        self._sent.update(each.where for each in fresh)
        for line in (line for lines in self._agreement.gather([each.facts() for each in fresh]) for line in lines):
            if self._main and _place(line) not in self._places:
                self._places[_place(line)] = line["documents"]
                self._log.append({"step": step, **line})
                self._say(line)
        return self.counts

    @property
    def counts(self) -> dict[str, int]:
        """Return how many places and documents were left out; nothing where nothing is left out."""
        if not self._is_on:
            return {}
        return counts(self._places.values())

    def __str__(self) -> str:
        """Say what is missing, or nothing if nothing is."""
        if not self._places:
            return ""
        return f"{in_words(self._places.values())} listed in {self._path}"

    def _say(self, line: dict[str, Any]) -> None:
        self._said += 1
        if self._said <= MOST_SAID:
            logger.warning("left out: %s: %s", _place(line), line["problem"])
        if self._said == MOST_SAID + 1:
            logger.warning("what else is left out is only listed in %s", self._path)


def _is_place(line: dict[str, Any]) -> bool:
    """Whether a line is one that a run wrote."""
    return type(line.get("step")) is int and {"file", "documents", "problem"} <= line.keys()


def _place(line: dict[str, Any]) -> str:
    within = [f"{name.replace('_', ' ')} {value}" for name, value in line.items() if name not in (*NO_PLACE, "file")]
    return ", ".join([line["file"], *within])

"""What training sees of its mirror: a start that may bring a checkpoint, and a process that copies new ones.

Training never waits for the copies, and nothing that happens to them ends it. At the end of the run, when the other processes
have left, it may show what is still being copied.
"""

import logging
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from codeparrot.config import Config
from codeparrot.run import checkpoint
from codeparrot.run.beside import tell

logger = logging.getLogger("codeparrot")

FINISH_SECONDS = 600.0
"""At the end of the run, copies are waited for until none has moved for this long; the next start sends the rest."""
END_SECONDS = 10.0
"""How long the end of the copier is waited for. No signal ends a process that a file server keeps waiting."""


class Mirror:
    """Every process makes one and enters it for the run; only the main one does anything."""

    def __init__(self, config: Config, main: bool) -> None:
        self._config, self._run = config, config.run_directory
        self._asked = bool(config.checkpoint.mirror)
        self._on = main and self._asked
        self._process: subprocess.Popen[bytes] | None = None
        self._reported: set[str] = set()
        self._failing = ""
        if self._on:
            from codeparrot.mirror.state import State

            self._state = State(self._run)

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the copier with the run. The next one goes on with what it was doing."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                text = "the process that copies to the mirror (%d) hangs in the file system of the mirror, and is left behind"
                logger.warning(text, self._process.pid)

    def bring(self, fetch_in_one: Callable[[Callable[[], None] | None], object]) -> None:
        """Check the mirror, and fetch the checkpoint from which the run goes on. All processes call this, and wait for it.

        Args:
            fetch_in_one: has one process do this while all wait (training/fetching.py); the others give None.

        Raises:
            CodeparrotError: the same on all processes.
        """
        if not self._asked:
            return
        from codeparrot.mirror.arrival import arrive

        fetch_in_one((lambda: arrive(self._config)) if self._on else None)

    def start(self) -> None:
        """Start the copier. What fails here fails again at the next checkpoint, and is said then."""
        if not self._on:
            return
        facts = self._state.read()
        self._reported = {each["digest"] for kind in ("copied", "skipped") for each in facts[kind]}
        waits = f"; {len(facts['waiting'])} wait already" if facts["waiting"] else ""
        logger.info("mirror      checkpoints are copied to %s%s", facts["mirror"], waits)
        try:
            self._start_copier()
        except OSError as error:
            logger.warning("cannot begin to copy to the mirror (%s): training goes on", error)

    def next_number(self) -> int:
        """Return the least number that a new checkpoint may have, to come after all copies."""
        return self._state.next_number() if self._on else 0

    def published(self) -> set[int]:
        """Tell the copier of a new checkpoint; return the step of the one that is being copied and must stay on the disk.

        Called after each checkpoint, beside the training. Never raises because of the mirror or the disk.
        """
        if not self._on:
            return set()
        try:
            self._report()
            if self._process is not None and self._process.poll() is not None:
                logger.warning(
                    "the process that copies to the mirror has ended (log/mirror.log says why); a new one is started"
                )
                self._process = None
            if self._process is None:
                self._start_copier()
            self._tell()
            copying = self._state.read()["copying"]
            return {int(copying.removeprefix("step_"))} if copying else set()
        except OSError as error:
            logger.warning("the copies for the mirror cannot be looked after (%s): training goes on", error)
            return set()

    def finish(self, asked_to_stop: Callable[[], bool]) -> dict[str, Any]:
        """Wait for the copies while they move, log what is left, and return the counts for programs.

        Called when the run has reached its end. A request to stop (Ctrl-C) ends the wait and loses nothing.
        """
        if not self._on:
            return {}
        try:
            self._state.note()
            if self._state.waiting() and self._process is not None:
                self._tell()
                self._wait(asked_to_stop)
            self._report()
            facts = self._state.read()
            if left := len(self._state.waiting()):
                count = "1 checkpoint is" if left == 1 else f"{left} checkpoints are"
                why = f" ({facts['state']}: {facts['error']})" if facts["error"] else ""
                text = "%s still to be copied to %s%s: the same command sends what is left"
                logger.warning(text, count, facts["mirror"], why)
            elif not self._config.hub.repo:  # else the Hub's queue says which must stay
                kept = self._config.checkpoint
                checkpoint.prune(self._run / "checkpoints", kept.keep_last, kept.keep_every_steps)
            counts = {"copied": len(facts["copied"]), "waiting": left, "skipped": len(facts["skipped"])}
            return {"mirror": {"address": facts["mirror"], **counts}}
        except OSError as error:
            logger.warning("cannot tell what is left for the mirror (%s): the same command sends it", error)
            return {}

    def _wait(self, asked_to_stop: Callable[[], bool]) -> None:
        """Show the copies until they are done, nothing has moved for FINISH_SECONDS, or somebody asks to stop."""
        from codeparrot.mirror.copier import HOPELESS, PROGRESS
        from codeparrot.publishing import progress

        def stops() -> bool:
            if asked_to_stop():
                return True
            ended = self._process is None or self._process.poll() is not None
            if ended:
                logger.warning("the process that copies to the mirror has ended: log/mirror.log says why")
            return ended

        def look() -> progress.Look:
            return progress.Look(self._state.waiting(), self._state.read(), progress.read(self._run, PROGRESS))

        progress.show("copying to the mirror", look, HOPELESS, FINISH_SECONDS, stops)

    def _report(self) -> None:
        """Log what has changed since the last report."""
        facts = self._state.read()
        for kind in ("copied", "skipped"):
            for each in facts[kind]:
                if each["digest"] in self._reported:
                    continue
                self._reported.add(each["digest"])
                if kind == "copied":
                    logger.info("step %d is at the mirror", each["step"])
                else:
                    logger.warning("step %d is not copied to the mirror: %s", each["step"], each["reason"])
        failing = facts["state"] if facts["error"] else ""
        if failing != self._failing:
            self._failing = failing
            if failing:
                number = len(facts["waiting"])
                count = f"{number} checkpoint{'' if number == 1 else 's'}"
                logger.warning("the mirror (%s): %s; still to be copied: %s", failing, facts["error"], count)

    def _start_copier(self) -> None:
        from codeparrot.mirror.copier import LOG

        command = [sys.executable, "-m", "codeparrot.mirror.copier", str(self._run.resolve()), self._config.run.name]
        # In a session of its own, so that Ctrl-C on the terminal only reaches the trainer.
        with (self._run / LOG).open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)

    def _tell(self) -> None:
        """Tell the copier that there is something new. If it has just ended, the next checkpoint notices."""
        assert self._process is not None
        if not tell(self._process):
            logger.info("the process that copies to the mirror has ended")

"""What training sees of the Hub: a queue that takes every checkpoint at once, and a process that works through it.

Training never waits for the Hub. At the start, one process checks the token and the names, within seconds. After each
checkpoint, it writes the queue and tells the uploader. At the end of the run, when the other processes have left, it may show
what is still being pushed. Nothing here happens inside a collective.
"""

import json
import logging
import os
import select
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from codeparrot.config import Config, HubConfig
from codeparrot.errors import CodeparrotError
from codeparrot.run import checkpoint
from codeparrot.run.beside import tell

logger = logging.getLogger("codeparrot")

START_SECONDS = 60.0
"""Longest wait for the uploader at the start. The uploader waits a fraction of this for each answer of the Hub."""


class Pushes:
    """Every process makes one and enters it for the run; only the main one does anything."""

    def __init__(self, config: Config, main: bool) -> None:
        self._settings = HubConfig(**{**vars(config.hub), "branch": config.hub.branch or config.run.name})
        self._run = config.run_directory
        self._kept = config.checkpoint.keep_last, config.checkpoint.keep_every_steps
        self._on = main and bool(config.hub.repo)
        self._process: subprocess.Popen[bytes] | None = None
        self._reported: set[str] = set()
        self._state = ""

    def __enter__(self) -> "Pushes":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the uploader with the run. The next one repeats what it was doing."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def start(self, agreement: Any) -> None:
        """Start the uploader and read its verdict on the token and the names. All processes call this.

        Raises:
            CodeparrotError: on all of them: the run cannot be pushed like this, and only the user can fix it.
        """
        refusal = agreement.from_main(self._begin() if self._on else None)
        if refusal:
            raise CodeparrotError(refusal)

    def _begin(self) -> str | None:
        """Start the uploader; return why the run must not begin, or None."""
        from codeparrot.publishing.ledger import Ledger

        self._ledger = Ledger(self._run)
        try:
            self._ledger.open(self._settings)
            pending = len(self._ledger.pending())
            facts = self._ledger.read()
            found = self._start_uploader()
        except CodeparrotError as error:
            return f"cannot begin to push to the Hub: {error}"
        except OSError as error:
            remedy = f"training goes on, checkpoints stay; codeparrot hub push --run {self._run} pushes them"
            logger.warning("cannot begin to push to the Hub (%s): %s", error, remedy)
            return None
        self._reported = {each["digest"] for kind in ("pushed", "skipped") for each in facts[kind]}
        if "error" in found and not facts.get("set_aside"):
            return found["error"]
        if "error" in found or "offline" in found:
            self._process = None
        if "error" in found:
            # A lost hub.json must not end the run: nothing else says that what is on the branch is this run's.
            logger.warning("hub         nothing is pushed: %s; checkpoints are queued, training goes on", found["error"])
            return None
        place, waiting = f"{self._settings.repo}@{self._settings.branch}", f"; {pending} wait already" if pending else ""
        if "offline" in found:
            text = "hub         works offline (%s): checkpoints for %s are queued%s; codeparrot hub push --run %s pushes them"
            logger.info(text, found["offline"], place, waiting, self._run)
        elif "unreachable" in found:
            text = "hub         works offline (%s): checkpoints for %s are queued, and pushed when it can be reached%s"
            logger.info(text, found["unreachable"], place, waiting)
        else:
            logger.info("hub         checkpoints are pushed to %s%s", place, waiting)
        return None

    def next_number(self) -> int:
        """Return the least number that a new checkpoint may have, for the queue to tell it from what was pushed before."""
        from codeparrot.publishing.ledger import Ledger

        return Ledger(self._run).next_number()

    def published(self) -> set[int]:
        """Queue the checkpoints that are due; return the steps of those that must stay on the disk.

        Called after each checkpoint, beside the training. Never raises because of the Hub or the disk.
        """
        if not self._on:
            return set()
        from codeparrot.publishing.ledger import entries

        try:
            if not self._ledger.path.exists():
                self._ledger.open(self._settings)
            kept = {entry.step for entry in self._ledger.pending()}
            self._report()
            if self._process is not None:
                if self._process.poll() is not None:
                    logger.warning("the process that pushes to the Hub has ended (log/hub.log says why); a new one is started")
                    self._start_uploader()
                self._tell()
        except (OSError, CodeparrotError) as error:
            logger.warning("the queue for the Hub cannot be worked on (%s): no checkpoint is removed until it can", error)
            return {entry.step for entry in entries(self._run / "checkpoints")}
        return kept

    def finish(self, asked_to_stop: Callable[[], bool]) -> dict[str, Any]:
        """Wait for running uploads if the Hub can be reached, log what is left, and return the counts for programs.

        Called when the run has reached its end. A request to stop (Ctrl-C) ends the wait and loses nothing.
        """
        if not self._on:
            return {}
        try:
            return {"hub": self._finish(asked_to_stop)}
        except (OSError, CodeparrotError) as error:
            logger.warning("cannot tell what is left for the Hub (%s): codeparrot hub status --run %s", error, self._run)
            return {}

    def _finish(self, asked_to_stop: Callable[[], bool]) -> dict[str, Any]:
        pending = self._ledger.pending()
        if pending and self._process is not None:
            self._tell()
            self._wait(asked_to_stop)
            pending = self._ledger.pending()
        checkpoint.prune(self._run / "checkpoints", *self._kept, kept={entry.step for entry in pending})
        self._report()
        facts = self._ledger.read()
        if pending:
            count = "1 checkpoint is" if len(pending) == 1 else f"{len(pending)} checkpoints are"
            why = f" ({facts['state']}: {facts['error']})" if facts["error"] else ""
            text = "%s still to be pushed to %s%s: codeparrot hub push --run %s"
            logger.warning(text, count, self._ledger.branch, why, self._run)
        place = {"repo": facts["repo"], "branch": facts["branch"]}
        return place | {"pushed": len(facts["pushed"]), "pending": len(pending), "skipped": len(facts["skipped"])}

    def _wait(self, asked_to_stop: Callable[[], bool]) -> None:
        """Show the uploads until they are done, nothing has moved for `hub.finish_minutes`, or somebody asks to stop."""
        from codeparrot.publishing import progress
        from codeparrot.publishing.uploader import HOPELESS

        def stops() -> bool:
            if asked_to_stop():
                return True
            ended = self._process is None or self._process.poll() is not None
            if ended:
                logger.warning("the process that pushes to the Hub has ended: log/hub.log says why")
            return ended

        def look() -> progress.Look:
            return progress.Look(self._ledger.pending(), self._ledger.read(), progress.read(self._run))

        progress.show("pushing", look, HOPELESS, 60 * self._settings.finish_minutes, stops)

    def _report(self) -> None:
        """Log what has changed since the last report."""
        facts = self._ledger.read()
        for kind in ("pushed", "skipped"):
            for each in facts[kind]:
                if each["digest"] in self._reported:
                    continue
                self._reported.add(each["digest"])
                if kind == "pushed":
                    text = "step %d is on %s@%s: commit %s"
                    logger.info(text, each["step"], each["repo"], each["branch"], each["commit"][:12])
                else:
                    logger.warning("step %d is not pushed to the Hub: %s", each["step"], each["reason"])
        failing = facts["state"] if facts["error"] else ""
        if failing != self._state:
            self._state = failing
            if failing:
                text = "the Hub (%s): %s; %d checkpoints wait, training goes on"
                logger.warning(text, failing, facts["error"], len(facts["pending"]))

    def _start_uploader(self) -> dict[str, str]:
        """Start the uploader and return its first line, or "unreachable" if it is silent for too long."""
        # In a session of its own, so that Ctrl-C on the terminal only reaches the trainer.
        with (self._run / "log" / "hub.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "codeparrot.publishing.uploader", str(self._run.resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            )
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], START_SECONDS)[0]:
            return {"unreachable": f"no answer in {START_SECONDS:.0f} s"}
        line = self._process.stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            return {"error": f"the process that pushes to the Hub has ended: see {self._run}/log/hub.log"}

    def _tell(self) -> None:
        """Tell the uploader that there is something new. If it has just ended, the next checkpoint notices."""
        assert self._process is not None
        if not tell(self._process):
            logger.info("the process that pushes to the Hub has ended")

"""Pushes the pending checkpoints of `hub.json` until none is left, in a process beside the training.

`python -m codeparrot.publishing.uploader RUN` starts it.

It may be killed at any moment: the next one repeats what it was doing, and nothing is committed twice (commit.py). A failed
push is tried again, with waits that double, or for as long as the Hub asks. On standard input, a line from the trainer means a
new checkpoint. The end of input means that no more will come; the uploader then ends when the queue is empty, or at the first
failure. It runs at the lowest priority.
"""

import json
import logging
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from codeparrot import figures
from codeparrot.errors import CodeparrotError
from codeparrot.hub import client
from codeparrot.publishing import commit as push
from codeparrot.publishing import progress
from codeparrot.publishing.ledger import Entry, Ledger
from codeparrot.run.beside import Trainer, step_back

LOG = "log/hub.log"
LONGEST_WAIT_SECONDS = 300.0
LOOK_AGAIN_SECONDS = 30.0
CHECK_SECONDS = 10.0
"""Longest wait for an answer of the Hub at the start."""

HOPELESS = ("offline", "denied", "conflict")
"""States of the queue that waiting does not cure."""

logger = logging.getLogger("codeparrot.hub")


class Turn(NamedTuple):
    """The outcome of trying to push the next checkpoint."""

    entry: Entry | None = None
    """The checkpoint; None if nothing is pending."""
    commit: str = ""
    """The commit that now holds it; empty if the push failed."""
    state: str = "idle"
    error: str = ""
    wait_seconds: float = 0.0
    """How long to wait before the next turn."""


class Uploader:
    """Pushes one checkpoint at a time. Its caller must hold the right to push (Ledger.pushing)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._settings, self._target = ledger, ledger.settings, ledger.branch
        self._progress = progress.Writer(ledger.run)
        self._api = client.connect(self._settings.timeout_seconds, self._progress.sent)
        self._history: push.History | None = None
        self._failures = 0

    def turn(self) -> Turn:
        """Try once to push the next checkpoint. A failure of the Hub or the network is written down and returned, not raised.

        Raises:
            CodeparrotError: the run is pushed to another branch now, so its queue no longer belongs to this uploader.
        """
        now = self._ledger.branch
        if now != self._target:
            raise CodeparrotError(f"{self._ledger.run} goes to {now} now: nothing more is pushed to {self._target}")
        entry = self._ledger.next()
        if entry is None:
            self._ledger.note("idle")
            return Turn()
        why_not = client.offline()
        if why_not:
            return self._failed(entry, "offline", why_not, 0.0)
        self._ledger.note("pushing")
        self._progress.begin(entry)
        try:
            return self._push(entry)
        except push.Damaged as error:
            self._ledger.skip(entry, str(error))
            return Turn(entry, state="idle", error=str(error))
        except push.Conflict as error:
            return self._failed(entry, "conflict", str(error), 0.0)
        except (*client.FAILURES, CodeparrotError) as error:
            # Whatever it was, read the branch again before the next try.
            self._history = None
            state = "denied" if client.denied(error) else "unreachable" if client.unreachable(error) else "failed"
            return self._failed(entry, state, client.reason(error), client.retry_after(error), client.moved(error))
        finally:
            self._progress.end()

    def _push(self, entry: Entry) -> Turn:
        if self._history is None:
            push.prepare(self._api, self._target, self._settings.private)
            self._history = push.history(self._api, self._target, self._ledger.digests())
        commit = self._history.commits.get(entry.digest)
        if commit is None:
            head, state = self._history.head, self._settings.state
            commit = push.push(self._api, self._ledger.run, entry, self._target, state, head)
            self._history.head = self._history.commits[entry.digest] = commit
        self._ledger.pushed(entry, commit, self._target)
        self._failures = 0
        return Turn(entry, commit)

    def _failed(self, entry: Entry, state: str, error: str, asked_seconds: float, at_once: bool = False) -> Turn:
        self._ledger.note(state, error)
        self._failures += 1
        doubled = min(LONGEST_WAIT_SECONDS, self._settings.retry_seconds * 2 ** min(self._failures - 1, 20))
        # So that runs which lost the same Hub do not come back to it in the same second.
        wait = 0.0 if at_once else doubled * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        return Turn(entry, state=state, error=error, wait_seconds=max(wait, asked_seconds))


def work(ledger: Ledger, trainer: Trainer) -> None:
    """Push until the trainer is gone and either nothing is pending or a push has failed."""
    uploader = Uploader(ledger)
    last_error = ""
    while True:
        turn = uploader.turn()
        if turn.commit and turn.entry:
            logger.info("pushed %s: commit %s", turn.entry.name, turn.commit[:12])
        elif turn.error and turn.error != last_error and turn.entry:
            logger.warning("%s is not pushed yet (%s): %s", turn.entry.name, turn.state, turn.error)
        last_error = turn.error
        if trainer.gone.is_set() and (turn.entry is None or turn.wait_seconds):
            return
        if turn.wait_seconds:
            trainer.gone.wait(turn.wait_seconds)
        elif turn.entry is None:
            trainer.wait_for_news(LOOK_AGAIN_SECONDS)


def push_all(ledger: Ledger, patience_seconds: float, report: Callable[[Turn], object]) -> Turn:
    """Push until nothing is pending, or no push has succeeded for this long; return the last turn."""
    uploader, moved = Uploader(ledger), time.monotonic()
    while True:
        turn = uploader.turn()
        report(turn)
        if turn.entry is None or turn.state in HOPELESS:
            return turn
        if turn.commit or not turn.wait_seconds:
            moved = time.monotonic()
        elif time.monotonic() + turn.wait_seconds - moved > patience_seconds:
            return turn
        else:
            time.sleep(turn.wait_seconds)


def renew_card(ledger: Ledger) -> str | None:
    """Add newer measurements to the card of the newest checkpoint on the branch; return the commit, if there is one.

    Raises:
        CodeparrotError: the Hub does not answer, or refuses.
    """
    newest, target = ledger.newest_pushed(), ledger.branch
    if newest is None:
        return None
    api = client.connect(ledger.settings.timeout_seconds)
    try:
        head = push.history(api, target, ledger.digests()).head
        return push.renew_card(api, ledger.run, newest, target, head)
    except client.FAILURES as error:
        raise CodeparrotError(f"the card on {target} is not renewed: {client.reason(error)}; try again later") from error


def check(ledger: Ledger) -> dict[str, str]:
    """Ask the Hub for the token's owner, the repository and the branch; return what is wrong.

    Returns:
        `error`: what only the user can fix (a token that is not accepted or may not write there, an invalid name, a branch of
        another run). `offline`: why this machine does not contact the Hub. `unreachable`: why the Hub cannot be reached now.
    """
    settings, target = ledger.settings, ledger.branch
    why_not = client.offline()
    if why_not:
        return {"offline": why_not}
    api = client.connect(min(CHECK_SECONDS, settings.timeout_seconds))
    try:
        api.whoami()
        push.prepare(api, target, settings.private)
        push.history(api, target, ledger.digests())
    except push.Conflict as error:
        return {"error": str(error)}
    except client.FAILURES as error:
        why = client.reason(error)
        if client.unreachable(error):
            return {"unreachable": why}
        remedy = f"log in with a token that may write there ({client.LOG_IN})" if client.denied(error) else "choose another"
        return {"error": f"hub.repo {target} cannot be pushed to: {why}; {remedy}"}
    return {}


def main(run: Path) -> int:
    """Run the process beside the training. A second one for the same run waits until the first has ended.

    It prints the result of `check` as its first line, in JSON. Offline it ends there, and leaves the right to push to others.
    """
    step_back()
    handler = logging.FileHandler(run / LOG, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    trainer = Trainer(sys.stdin.buffer)
    ledger = Ledger(run)
    try:
        found = check(ledger)
        print(json.dumps(found), flush=True)
        if "error" in found or "offline" in found:
            return 0
        figures.prepare()
        with ledger.pushing(wait=True):
            work(ledger, trainer)
    except (CodeparrotError, OSError) as error:
        logger.error("pushing ends: %s", client.reason(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

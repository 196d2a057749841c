"""Copies the checkpoints that wait to the mirror, in a process beside the training: `python -m codeparrot.mirror.copier RUN`.

It may be killed at any moment: the next one goes on with what it was doing. A copy that fails is tried again after waits that
double. On standard input, a line from the trainer means a new checkpoint; the end of input, that no more will come: then it
ends when nothing waits, or at the first failure. It runs at the lowest priority.
"""

import logging
import os
import random
import sys
from pathlib import Path
from typing import NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.mirror import copies
from codeparrot.mirror.claim import Conflict, claim
from codeparrot.mirror.state import State
from codeparrot.mirror.store import Store, open_store
from codeparrot.publishing import progress
from codeparrot.publishing.ledger import Entry
from codeparrot.run.beside import Trainer, step_back
from codeparrot.stream.readers.patience import Unanswered

LOG = "log/mirror.log"
PROGRESS = ".mirror.progress"
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 300.0
LOOK_AGAIN_SECONDS = 30.0
PATIENCE_SECONDS = 5.0
"""A request is tried again for this long before the copy counts as failed, which training sees."""
HOPELESS = ("conflict",)
"""States that waiting does not cure."""

logger = logging.getLogger("codeparrot.mirror")


class Turn(NamedTuple):
    """The outcome of trying to copy the checkpoint that is next."""

    entry: Entry | None = None
    """The checkpoint; None if none waits."""
    done: bool = False
    state: str = "idle"
    error: str = ""
    wait_seconds: float = 0.0
    """How long to wait before the next turn."""


class Copier:
    """Copies one checkpoint at a time, the newest first. Its caller must hold the right to copy (State.alone)."""

    def __init__(self, state: State, name: str) -> None:
        self._state, self._name = state, name
        self._store: Store = open_store(state.read()["mirror"])
        self._progress = progress.Writer(state.run, PROGRESS)
        self._claimed = False
        self._failures = 0

    def turn(self) -> Turn:
        """Try once. A failure is written down and returned, not raised."""
        entry = None
        try:
            self._check_owner()
            entry = next(iter(self._state.waiting()), None)
            if entry is None:
                self._tidy()
                return Turn()
            self._state.note(state="copying", copying=entry.name)
            self._progress.begin(entry)
            copies.copy(self._state.run, entry, self._store, self._progress.sent)
            self._tidy(entry.digest)
        except copies.Gone:
            return Turn(entry, error="it was removed while it was copied")
        except copies.Damaged as error:
            assert entry is not None
            self._state.skip(entry, str(error))
            return Turn(entry, error=str(error))
        except Conflict as error:
            return self._failed(entry, "conflict", str(error))
        except Unanswered as error:
            return self._failed(entry, "unreachable", error.why)
        except (CodeparrotError, OSError) as error:
            return self._failed(entry, "failed", " ".join(str(error).split()))
        finally:
            self._progress.end()
        self._failures = 0
        return Turn(entry, done=True)

    def _check_owner(self) -> None:
        """Make sure at each turn that the mirror is still this run's: a disk may be unmounted, or somebody tidies up."""
        if not self._claimed:
            claim(self._state, self._name, self._store)
            self._claimed = True
            return
        owner = copies.owner_of(self._store, self._store.sizes())
        if owner is None:
            raise Unanswered(f"{self._store.shown} no longer holds {copies.OWNER} (is the disk mounted?)")
        if owner.id != self._state.read()["id"]:
            raise Conflict(f'{self._store.shown} holds the checkpoints of another run now, "{owner.run}"')

    def _tidy(self, made: str = "") -> None:
        """Remove what need not be kept, and write down what is there. `made`: digest of a copy that is new."""
        content = self._state.read()
        damaged = [digest for digest in content["damaged"] if digest != made]
        coming = [entry.name for entry in self._state.waiting()]
        stay = copies.tidy(self._store, content["keep_last"], content["keep_every_steps"], coming, damaged)
        copied = [entry._asdict() for entry in stay]
        self._state.note(state="idle", error="", copying="", copied=copied, damaged=damaged)

    def _failed(self, entry: Entry | None, state: str, error: str) -> Turn:
        self._failures += 1
        doubled = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self._failures - 1, 20))
        self._state.note(state=state, error=error, copying="")
        wait = doubled * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        return Turn(entry, state=state, error=error, wait_seconds=wait)


def work(copier: Copier, trainer: Trainer) -> None:
    """Copy until the trainer is gone and either nothing waits or a copy has failed."""
    last_error = ""
    while True:
        turn = copier.turn()
        if turn.done and turn.entry:
            logger.info("copied %s", turn.entry.name)
        elif turn.error and turn.error != last_error:
            logger.warning("%s: %s", turn.entry.name if turn.entry else turn.state, turn.error)
        last_error = turn.error
        if trainer.gone.is_set() and (turn.entry is None or turn.wait_seconds):
            return
        if turn.wait_seconds:
            trainer.wait_for_news(turn.wait_seconds)
        elif turn.entry is None:
            trainer.wait_for_news(LOOK_AGAIN_SECONDS)


def main(run: Path, name: str) -> int:
    """Run the process beside the training. A second one for the same run waits until the first has ended."""
    step_back()
    handler = logging.FileHandler(run / LOG, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    trainer, state = Trainer(sys.stdin.buffer), State(run)
    try:
        with state.alone(wait=True):
            work(Copier(state, name), trainer)
    except (CodeparrotError, OSError) as error:
        logger.error("copying ends: %s", " ".join(str(error).split()))
        return 1
    return 0


if __name__ == "__main__":
    os.environ["CODEPARROT_PATIENCE_SECONDS"] = str(PATIENCE_SECONDS)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))

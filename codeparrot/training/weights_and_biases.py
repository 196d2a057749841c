"""One W&B run for each training run, however often that is interrupted.

Its id stands in the run directory. Values are plotted against `step`, since W&B's own count of steps drops what comes late.
Steps that are done again after a kill are not sent twice: the run directory also keeps the last step of each value that was
sent. Server and key are found by wandb itself.
"""

import importlib
import json
import logging
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.config import Config

logger = logging.getLogger("codeparrot")

STEP = "step"
_OFFLINE = ("offline", "disabled", "dryrun")


class WandbRun:
    """Accelerate's tracker for W&B, started; without a key or a server it works offline."""

    def __init__(self, config: Config, resumed_step: int) -> None:
        folder = config.run_directory / "wandb"
        known = _kept_id(folder) if resumed_step else None
        self._sent_file = folder / "sent.json"
        self._sent = _read_sent(self._sent_file) if known else {}
        """The last step at which earlier starts have sent each value, by its name."""
        self._before, self._warned = dict(self._sent), False
        self._tracker = _started(config, known or _new_id(folder))
        self._tracker.run.define_metric("*", step_metric=STEP)

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._tracker.store_init_configuration(values)

    def log(self, values: dict[str, Any], step: int) -> None:
        fresh = {name: value for name, value in values.items() if step > self._before.get(name, -1)}
        if not fresh:
            return
        self._tracker.log({**fresh, STEP: step})
        self._sent |= {name: step for name in fresh if step > self._sent.get(name, -1)}
        try:
            files.write_text(self._sent_file, json.dumps(self._sent), durable=False)
        except OSError as error:
            if not self._warned:
                logger.warning("cannot write %s (%s): W&B may show repeated steps twice", self._sent_file, error.strerror)
            self._warned = True

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        wandb: Any = importlib.import_module("wandb")
        self.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])}, step)

    def finish(self) -> None:
        self._tracker.finish()


def _started(config: Config, run_id: str) -> Any:
    from accelerate.tracking import WandBTracker

    wandb: Any = importlib.import_module("wandb")
    own: dict[str, Any] = {"name": config.run.name, "dir": str(config.run_directory), "id": run_id, "resume": "allow"}
    asked_offline = os.environ.get("WANDB_MODE") in _OFFLINE
    os.environ.setdefault("WANDB_INIT_TIMEOUT", "30")
    try:
        if not asked_offline and not wandb.login(prompt=False, verify=False):
            own["mode"] = "offline"
            logger.info("W&B has no key here: it works offline; `wandb sync` sends the run later")
        tracker = WandBTracker(config.tracking.project, **own)
        tracker.start()
    except Exception as error:
        if asked_offline or "mode" in own:
            raise
        wandb.teardown()  # the failed start still holds the run
        tracker = WandBTracker(config.tracking.project, **own, mode="offline")
        tracker.start()
        reason = " ".join(str(error).split())
        logger.warning("W&B cannot be reached (%s): it works offline; `wandb sync` sends the run later", reason)
    return tracker


_ID = re.compile(rb"([\w-]{1,64})\s*")


def _kept_id(folder: Path) -> str | None:
    """Return the id under which W&B knows the run; None if it is lost or damaged."""
    kept = folder / "run_id"
    if not kept.is_file():
        return None
    found = _ID.fullmatch(kept.read_bytes())
    if found:
        return found[1].decode()
    logger.warning("%s is damaged: W&B shows what comes now as a new run", kept)
    return None


def _new_id(folder: Path) -> str:
    fresh = secrets.token_hex(4)
    files.write_text(folder / "run_id", fresh, durable=False)
    return fresh


def _read_sent(path: Path) -> dict[str, int]:
    """Return what earlier starts have sent; nothing where an earlier version or a killed start left no record of it."""
    try:
        sent = files.read_object(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read (%s): W&B may show steps that are done again twice", path, error)
        return {}
    return {name: step for name, step in sent.items() if isinstance(step, int)}

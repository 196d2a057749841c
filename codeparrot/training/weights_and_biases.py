"""One W&B run for each training run, however often that is interrupted.

Its id stands in the run directory. Values are plotted against `step`, since W&B's own count of steps drops what comes late.
Steps that are done again after a kill are not sent twice: the run directory also keeps the last step of each value that was
sent. Server and key are found by wandb itself.

A run that goes back to one of its older checkpoints (`--resume PATH`) leaves values behind that no longer belong to it. W&B
takes rows back only by a rewind of the run (`wandb.init(resume_from=...)`), which it has as a preview on its own clouds and not
on servers of one's own, and not for a run that it believes alive. Where that is refused, or the run was ever offline, the rest
is a W&B run of its own: nothing is shown twice, and nothing is dropped.
"""

import contextlib
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
from codeparrot.location import path_of
from codeparrot.run.checkpoint import name_of

logger = logging.getLogger("codeparrot")

STEP = "step"
_OFFLINE = ("offline", "disabled", "dryrun")


class WandbRun:
    """Accelerate's tracker for W&B, started; without a key or a server it works offline."""

    def __init__(self, config: Config, resumed_step: int) -> None:
        folder = config.run_directory / "wandb"
        known = _kept_id(folder) if resumed_step else None
        self._sent_file, self._warned = folder / "sent.json", False
        self._rows = _Rows(folder / "rows.txt", known is None)
        self._sent = _read_sent(self._sent_file) if known else {}
        """The last step at which earlier starts have sent each value, by its name."""
        abandoned = max(self._sent.values(), default=0) if known and _goes_back(config, resumed_step) else 0
        if known and abandoned > resumed_step:
            self._tracker, rewound = self._without_abandoned(config, known, resumed_step, abandoned)
            self._sent = {name: min(step, resumed_step) for name, step in self._sent.items()} if rewound else {}
        else:
            self._tracker = _started(config, known or _new_id(folder))
        # In this order: a start that is killed in between goes back once more, and does not take abandoned values for sent.
        files.write_text(self._sent_file, json.dumps(self._sent), durable=False)
        files.write_text(folder / _RESUME, config.resume, durable=False)
        self._before = dict(self._sent)
        self._tracker.run.define_metric("*", step_metric=STEP)
        self._rows.start(self._tracker.run)

    def _without_abandoned(self, config: Config, known: str, step: int, abandoned: int) -> tuple[Any, bool]:
        """Rewind the W&B run to a step, or begin another one; return its tracker and whether it was rewound."""
        row, reason = self._rows.last(step), "it was offline, or an earlier version of codeparrot began it"
        if row is not None:
            try:
                if _online():
                    tracker = _tracker(config, resume_from=f"{known}?_step={row}")
                    self._rows.cut(row)
                    logger.info(
                        "W&B: the run goes back to step %d, and steps %d to %d are taken back", step, step + 1, abandoned
                    )
                    return tracker, True
                reason = "it has no key here, or is offline"
            except Exception as error:  # noqa: BLE001 - it is reported
                reason = " ".join(str(error).split())
                _wandb().teardown()  # the failed start still holds the run
        fresh = _new_id(config.run_directory / "wandb")
        text = "W&B cannot take back steps %d to %d of run %s (%s): what comes now is a new W&B run, %s, from step %d on"
        logger.warning(text, step + 1, abandoned, known, reason, fresh, step + 1)
        self._rows = _Rows(self._rows.path, fresh=True)
        return _started(config, fresh), False

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._tracker.store_init_configuration(values)

    def log(self, values: dict[str, Any], step: int) -> None:
        fresh = {name: value for name, value in values.items() if step > self._before.get(name, -1)}
        if not fresh:
            return
        self._tracker.log({**fresh, STEP: step})
        self._rows.add(step)
        self._sent |= {name: step for name in fresh if step > self._sent.get(name, -1)}
        try:
            files.write_text(self._sent_file, json.dumps(self._sent), durable=False)
        except OSError as error:
            if not self._warned:
                logger.warning("cannot write %s (%s): W&B may show repeated steps twice", self._sent_file, error.strerror)
            self._warned = True

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        self.log({name: _wandb().Table(columns=list(columns), data=[list(row) for row in rows])}, step)

    def finish(self) -> None:
        self._tracker.finish()


class _Rows:
    """The step of each row that W&B holds of the run, by W&B's own count: what a rewind needs. Lost where it cannot be kept."""

    def __init__(self, path: Path, fresh: bool) -> None:
        self.path = path
        self._next: int | None = None
        if fresh:
            files.write_text(path, "", durable=False)

    def start(self, run: Any) -> None:
        """Begin to count, from the row that W&B writes next. Rows of an offline run get their numbers when it is synced."""
        if getattr(run, "offline", True):
            self._forget()
        elif self.path.is_file():
            self._next = run.step  # once: each time it waits for W&B's process

    def add(self, step: int) -> None:
        if self._next is None:
            return
        try:
            files.append(self.path, f"{step} {self._next}\n".encode())
            self._next += 1
        except OSError:
            self._forget()

    def last(self, step: int) -> int | None:
        """Return the last row that is not after a step; None if it is not known."""
        return max((row for at, row in self._read() if at <= step), default=None)

    def cut(self, row: int) -> None:
        """Leave out the rows after one."""
        kept = [f"{at} {each}\n" for at, each in self._read() if each <= row]
        files.write_text(self.path, "".join(kept), durable=False)

    def _forget(self) -> None:
        self._next = None
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _read(self) -> list[tuple[int, int]]:
        """Return steps and rows; none if the file is lost or damaged."""
        try:
            return [(int(step), int(row)) for step, row in (line.split() for line in self.path.read_text().splitlines())]
        except (OSError, ValueError):
            return []


_RESUME = "resume"
"""File with the `resume` of the last start: the same one again goes on, and does not go back."""


def _goes_back(config: Config, step: int) -> bool:
    """Whether this start begins at an older checkpoint of the run, which was named."""
    own = config.run_directory / "checkpoints" / name_of(step)
    try:
        before = (config.run_directory / "wandb" / _RESUME).read_text(encoding="utf-8")
    except (OSError, ValueError):
        before = ""
    return before != config.resume and path_of(config.resume).resolve() == own.resolve()


def _wandb() -> Any:
    return importlib.import_module("wandb")


def _tracker(config: Config, **options: Any) -> Any:
    """Return Accelerate's tracker, started."""
    from accelerate.tracking import WandBTracker

    own: dict[str, Any] = {"name": config.run.name, "dir": str(config.run_directory), **options}
    tracker = WandBTracker(config.tracking.project, **own)
    tracker.start()
    return tracker


def _online() -> bool:
    """Whether W&B may be asked: it has a key, and nobody wants it offline."""
    os.environ.setdefault("WANDB_INIT_TIMEOUT", "30")
    return os.environ.get("WANDB_MODE") not in _OFFLINE and bool(_wandb().login(prompt=False, verify=False))


def _started(config: Config, run_id: str) -> Any:
    wandb, own = _wandb(), {"id": run_id, "resume": "allow"}
    asked_offline = os.environ.get("WANDB_MODE") in _OFFLINE
    try:
        if not _online() and not asked_offline:
            own["mode"] = "offline"
            logger.info("W&B has no key here: it works offline; `wandb sync` sends the run later")
        return _tracker(config, **own)
    except Exception as error:
        if asked_offline or "mode" in own:
            raise
        wandb.teardown()  # the failed start still holds the run
        tracker = _tracker(config, **own, mode="offline")
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

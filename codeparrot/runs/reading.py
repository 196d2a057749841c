"""What is known of a run from its directory alone, while it trains or afterwards. Nothing is loaded and nothing is changed.

What is broken or foreign costs a word at that run and never the list. Cost: reading each metrics.jsonl once.
"""

import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from codeparrot.errors import CodeparrotError
from codeparrot.location import local_folder
from codeparrot.mirror.state import State
from codeparrot.publishing.ledger import Ledger
from codeparrot.run import checkpoint
from codeparrot.run.metrics import read_lines
from codeparrot.run.parent import parent_of
from codeparrot.run.reports import reports_of
from codeparrot.run.status import read_status
from codeparrot.text_files import read_text

BROKEN, FOREIGN, NEVER = "broken", "no run", "not begun"
RECENT = 5
"""Logged steps whose median speed is shown: one may have waited for a disk."""
SCORE = "pass@1"


class Facts(NamedTuple):
    """A run, as its directory tells of it; None is what nothing says."""

    name: str
    path: str
    state: str
    """running, stopped, finished, failed; died: its process was killed; not begun; broken, or no run at all: `problem`."""
    step: int | None = None
    max_steps: int | None = None
    tokens: int | None = None
    loss: float | None = None
    """Of the last logged step."""
    bits_per_byte: float | None = None
    """Of the last evaluation."""
    pass_at_1: float | None = None
    """Of the last checkpoint whose completions were tested."""
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    """Of a run that is running, at that speed."""
    checkpoint: int | None = None
    """Step of the newest one."""
    waiting: int | None = None
    """Checkpoints that wait for the Hub; None: the run is not pushed."""
    mirror_waiting: int | None = None
    """Checkpoints that wait for a copy; None: the run has no mirror."""
    parent: dict[str, Any] | None = None
    """Checkpoint of another run at which it began (run/parent.py)."""
    problem: str = ""
    """Why it failed or is broken."""
    time: float = 0.0
    """When it last wrote, seconds since 1970."""


def read_runs(name: str) -> list[Facts]:
    """Return the runs in a folder, those that are running first, then those that wrote last; or the one that a folder is.

    Raises:
        CodeparrotError: there is no such folder, or it holds no folder.
    """
    folder = local_folder(name)
    if folder is None:
        raise CodeparrotError(f'there is no folder "{name}" here; name the one that holds your runs (run.dir, by default runs)')
    places = [folder] if is_run(folder) else sorted(each for each in folder.iterdir() if _is_shown(each))
    if not places:
        raise CodeparrotError(f"{folder} holds no run")
    return sorted(map(read, places), key=lambda run: (run.state != "running", -run.time, run.name))


def _is_shown(place: Path) -> bool:
    return place.is_dir() and not place.name.startswith(".")


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's. A config.yaml alone is anybody's, also that of somebody whose runs lie beside it."""
    return any((folder / name).exists() for name in ("metrics.jsonl", "checkpoints", "status.json"))


def read(folder: Path) -> Facts:
    """Return what a run's directory tells."""
    name, path = folder.resolve().name, str(folder)
    if not is_run(folder):
        return Facts(name, path, FOREIGN, problem="a folder without metrics.jsonl, checkpoints and status.json")
    try:
        return Facts(name, path, NEVER)._replace(**dict(_facts(folder)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError, CodeparrotError) as error:
        # Whatever somebody has put there: this is a list of what is there, and the run's own commands say what is wrong.
        return Facts(name, path, BROKEN, problem=" ".join(str(error).split()) or type(error).__name__)


def _facts(folder: Path) -> Iterator[tuple[str, Any]]:
    config, rows = _config(folder), _rows(folder)
    losses = [row for row in rows if "loss" in row]
    last = max((row["step"] for row in rows), default=0)
    status: dict[str, Any] = {}
    if (folder / "status.json").exists():
        status = read_status(folder)
        yield "state", status["state"]
        yield "problem", str(status.get("reason") or "") if status["state"] == "failed" else ""
    train = config.get("train") or {}
    step, steps = max(last, int(status.get("step", 0))), status.get("max_steps") or train.get("max_steps")
    yield "step", step
    yield "max_steps", steps
    yield "tokens", rows[-1].get("tokens") if rows else None
    yield "loss", _last(losses, "loss")
    yield "bits_per_byte", _last(rows, "bits_per_byte")
    yield "pass_at_1", _pass_at_1(folder, rows)
    speeds = [row["tokens_per_second"] for row in losses[-RECENT:] if row.get("tokens_per_second")]
    speed = statistics.median(speeds) if speeds else None
    yield "tokens_per_second", speed
    tokens_per_step = rows[-1]["tokens"] / last if last and rows[-1].get("tokens") else None
    if status.get("state") == "running" and speed and steps and tokens_per_step:
        yield "seconds_left", max(0, steps - step) * tokens_per_step / speed
    present = [place for place in checkpoint.steps(folder / "checkpoints") if (place / checkpoint.MANIFEST).is_file()]
    yield "checkpoint", checkpoint.read_manifest(present[0])["step"] if present else None
    ledger = Ledger(folder)
    yield "waiting", len(ledger.read()["pending"]) if ledger.path.exists() else None
    mirror = State(folder)
    yield "mirror_waiting", len(mirror.waiting()) if mirror.path.exists() and mirror.read()["mirror"] else None
    yield "parent", parent_of(folder)
    written = [place.stat().st_mtime for place in (folder / "metrics.jsonl", folder / "status.json") if place.exists()]
    yield "time", max(written, default=0.0)


def _config(folder: Path) -> dict[str, Any]:
    place = folder / "config.yaml"
    found = yaml.safe_load(read_text(place)) if place.exists() else {}
    if not isinstance(found, dict):
        raise CodeparrotError("config.yaml holds no settings")
    return found


def _rows(folder: Path) -> list[dict[str, Any]]:
    place = folder / "metrics.jsonl"
    return read_lines(place) if place.exists() else []


def _last(rows: list[dict[str, Any]], name: str) -> float | None:
    known = (row[name] for row in reversed(rows) if row.get(name) is not None and math.isfinite(row[name]))
    return next(known, None)


def _pass_at_1(folder: Path, rows: list[dict[str, Any]]) -> float | None:
    """Return pass@1 of the newest step that has one; `codeparrot eval` asks more problems than the run does, so it wins."""
    scores = [(row["step"], 0, row[SCORE]) for row in rows if row.get(SCORE) is not None]
    scores += [(step, 1, report[SCORE]) for step, report in reports_of(folder) if SCORE in report["best"]]
    return max(scores)[2] if scores else None


def as_data(run: Facts) -> dict[str, Any]:
    """Return a run for `--json`, with pass@1 under the name that it has everywhere."""
    return {SCORE if name == "pass_at_1" else name: value for name, value in run._asdict().items()}


def short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}...{name[-(most - most // 2 - 2) :]}"

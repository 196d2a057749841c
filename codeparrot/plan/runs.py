"""What a run really used, read off its folder."""

import logging
import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.arguments import load_config
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.location import local_folder
from codeparrot.run import checkpoint
from codeparrot.run.metrics import log_file, read_lines

WARM_UP_SHARE = 0.1
"""Share of a run's logged lines that is left out at its beginning: compilation, caches."""
# Lines of training.derived.derived_values. Behind the precision, a line may say in brackets why it is that one.
_START = re.compile(r"^\S+ \S+ INFO run +\S.*?(?:, resumed at step (\d+))?$", re.MULTILINE)
_STRATEGY = re.compile(r"INFO strategy +(\S.*)$", re.MULTILINE)
_DEVICE = re.compile(r"INFO compute +\S.* on (\d+) x (\w+), \S+ TFLOP/s \((.*?), ", re.MULTILINE)
_TIME = re.compile(r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")

logger = logging.getLogger("codeparrot")


@dataclass(frozen=True)
class Used:
    """What a run used; None where its folder does not say."""

    folder: Path
    config: Config
    world_size: int
    """At its last start, as are strategy, kind and device."""
    strategy: str | None
    """As its log names it: DDP, FSDP2, ..."""
    kind: str | None
    """cuda or cpu."""
    device: str | None
    """Name of the device."""
    tokens_per_second: float
    """Since its last start, without the first lines."""
    mfu: float | None
    steps: int
    """That the lines of metrics.jsonl cover."""
    training_seconds: float
    """Without evaluations and checkpoints."""
    wall_seconds: float | None
    """From the first line of the log of its last start to the last one; None for a run that was resumed."""
    peak_memory_bytes: int | None
    model_bytes: int | None
    """Of the newest checkpoint."""
    state_bytes: int | None
    checkpoints: int


def read_run(name: str) -> Used:
    """Return what a run used.

    Raises:
        CodeparrotError: there is no such run, or it has logged no speed yet.
    """
    folder = local_folder(name)
    if folder is None or not (folder / "config.yaml").is_file():
        raise CodeparrotError(f'"{name}" is not a run: there is no config.yaml in it; name a run folder, as runs/nano')
    config = load_config(folder / "config.yaml")
    try:
        lines = read_lines(folder / "metrics.jsonl")
    except OSError as error:
        reason = f"its metrics.jsonl cannot be read ({error.strerror})"
        raise CodeparrotError(f'"{name}": {reason}; train on until it has one') from error
    rated = [line for line in lines if line.get("tokens_per_second")]
    if not rated:
        raise CodeparrotError(f'the run "{name}" has logged no speed yet: train on until it has')
    log, begun = _last_start(_log(folder))
    manifest = _newest_manifest(folder)
    device, strategy = _DEVICE.search(log), _STRATEGY.search(log)
    world = int(device[1]) if device else manifest.get("world_size") or _logs(folder)
    sizes = _sizes(manifest)
    return Used(
        folder=folder,
        config=config,
        world_size=world,
        strategy=strategy[1].strip() if strategy else None,
        kind=device[2] if device else None,
        device=device[3] if device else None,
        tokens_per_second=steady_rate([line for line in rated if line["step"] > begun] or rated) or math.nan,
        mfu=next((line["mfu"] for line in reversed(rated) if line.get("mfu")), None),
        steps=rated[-1]["step"],
        training_seconds=_training_seconds(rated),
        wall_seconds=None if begun else _wall_seconds(log),
        peak_memory_bytes=max((line["peak_memory_bytes"] for line in rated if line.get("peak_memory_bytes")), default=None),
        model_bytes=sizes[0],
        state_bytes=sizes[1],
        checkpoints=len(list(checkpoint.steps(folder / "checkpoints"))),
    )


def steady_rate(lines: list[dict[str, Any]]) -> float | None:
    """Return the tokens a second of a run's metrics, without its first lines; None if there are none."""
    rates = [line["tokens_per_second"] for line in lines if line.get("tokens_per_second")]
    rates = rates[math.ceil(WARM_UP_SHARE * len(rates)) if len(rates) > 1 else 0 :]
    return len(rates) / sum(1 / rate for rate in rates) if rates else None


def _training_seconds(lines: list[dict[str, Any]]) -> float:
    seconds, before = 0.0, 0
    for line in lines:
        seconds += max(0, line["tokens"] - before) / line["tokens_per_second"]
        before = line["tokens"]
    return seconds


def _log(folder: Path) -> str:
    try:
        return log_file(folder, 0).read_text(encoding="utf-8", errors="replace")
    except OSError:
        logger.warning("%s cannot be read: strategy and wall time of the run are not known", log_file(folder, 0))
        return ""


def _logs(folder: Path) -> int:
    return max(1, len(list((folder / "log").glob("rank_*.log"))))


def _last_start(log: str) -> tuple[str, int]:
    """Return the log of a run's last start that came as far as training, and the step at which it began."""
    starts = list(_START.finditer(log))
    end = len(log)
    for start in reversed(starts):
        if _DEVICE.search(part := log[start.start() : end]):
            return part, int(start[1] or 0)
        end = start.start()
    return log, 0


def _wall_seconds(log: str) -> float | None:
    stamps = [found[0] for line in log.splitlines() if (found := _TIME.match(line))]
    if len(stamps) < 2:
        return None
    first, last = (datetime.fromisoformat(stamp) for stamp in (stamps[0], stamps[-1]))
    return (last - first).total_seconds()


def _newest_manifest(folder: Path) -> dict[str, Any]:
    for place in checkpoint.steps(folder / "checkpoints"):
        try:
            return files.read_object(place / checkpoint.MANIFEST)
        except (OSError, ValueError) as error:
            logger.warning("passing over %s: its manifest cannot be read (%s)", place, error)
    return {}


def _sizes(manifest: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return the bytes of weights and of the optimizer's state in a checkpoint."""
    entries = manifest.get("files")
    if not isinstance(entries, dict):
        return None, None
    sizes = {name: entry["bytes"] for name, entry in entries.items() if isinstance(entry, dict) and "bytes" in entry}
    model = sum(size for name, size in sizes.items() if name.startswith("model/") and name.endswith(".safetensors"))
    state = sum(size for name, size in sizes.items() if name.startswith("state/"))
    return model, state

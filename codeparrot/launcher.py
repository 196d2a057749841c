"""How a process of a run starts: how many were asked for, and what start-up does about garbage."""

import gc
import os
from collections.abc import Sequence

from codeparrot.errors import CodeparrotError

_THRESHOLDS = gc.get_threshold()


def collect_garbage_rarely() -> None:
    """Look for garbage rarely while the process starts: nearly all that imports make stays. A fifth of their time."""
    gc.set_threshold(100_000, 20, 100)


def collect_garbage_as_usual() -> None:
    """Collect garbage as usual from here on, and pass over what start-up made."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def world_size_asked() -> int:
    """Return the number of processes of this run.

    Raises:
        CodeparrotError: the launcher was asked for several processes and started only this one.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    asked = _asked_of_launcher()
    if started == 1 and asked > 1:
        raise CodeparrotError(
            f"accelerate launch was asked for {asked} processes and started one (--cpu does that); use "
            f"`accelerate launch --config_file launch/ddp.yaml --num_processes {asked} codeparrot/train.py ...`"
        )
    return started


def _asked_of_launcher() -> int:
    """Return `--num_processes` of the `accelerate launch` that is our parent, or 1."""
    import psutil

    try:
        words = psutil.Process().parent()
        command: Sequence[str] = words.cmdline() if words else []
    except psutil.Error:
        return 1
    words_of = [part for word in command for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if not any("accelerate" in word for word in words_of[:3]) or "--num_processes" not in words_of:
        return 1
    value = words_of[words_of.index("--num_processes") + 1 :][:1]
    return int(value[0]) if value and value[0].isdigit() else 1

"""How a process of a run starts: which of how many it is, its standard streams, how its threads wait, and what start-up does
about garbage.

Variables as RANK count only together, as a launcher sets them. Other programs leave some of them behind (a notebook, a job
script, a container); those change nothing. One process alone needs no process group, so what a launcher of one process sets is
passed over too, unless the model is sharded.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from codeparrot.errors import CodeparrotError
from codeparrot.location import LENT_HOME

_THRESHOLDS = gc.get_threshold()
_OF_LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What every launcher gives to each of several processes, besides WORLD_SIZE."""
_OF_MPI = ("PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD")
"""Prefixes of the variables that MPI sets and Accelerate reads."""


def collect_garbage_rarely() -> None:
    """Look for garbage rarely while the process starts: nearly all that imports make stays. A fifth of their time."""
    gc.set_threshold(1_000_000, 20, 100)


def collect_garbage_as_usual() -> None:
    """Collect garbage as usual from here on, and pass over what start-up made."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


SPINS = "2000"
"""Turns that a waiting thread of OpenMP takes before it sleeps. GNU's default is 300,000, some milliseconds."""
_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_asleep() -> None:
    """Have OpenMP's threads, which wait for each other many times a step, spin only for a moment before they sleep.

    A thread that spins keeps its core from the one it waits for, as soon as anything else runs on the machine: training beside
    one busy process falls to a quarter (benchmarks/openmp.py). To be called before torch is loaded, because the library reads
    the variable then. Processes that are started from here inherit it. What a user has set stays.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def rank() -> int:
    """Return the number of this process among those of its launch; 0 where there is only this one."""
    number, count = _whole("RANK"), _whole("WORLD_SIZE")
    return number if number is not None and count is not None and number < count else 0


def world_size_asked() -> int:
    """Return the number of processes of this run. Variables that say nothing true are removed and named in a warning.

    Raises:
        CodeparrotError: the launcher was asked for several processes and started only this one, or variables speak of several
            processes that no launcher can have started.
    """
    started = _launched()
    asked = _asked_of_launcher()
    if started == 1 and asked > 1:
        raise CodeparrotError(
            f"accelerate launch was asked for {asked} processes and started one (--cpu does that); use "
            f"`accelerate launch --config_file launch/ddp.yaml --num_processes {asked} codeparrot/train.py ...`"
        )
    return started


def _launched() -> int:
    count, number = _whole("WORLD_SIZE"), _whole("RANK")
    lacking = [name for name in _NEEDED if not os.environ.get(name)]
    of_mpi = {f"{name}_SIZE": _whole(f"{name}_SIZE") or 1 for name in _OF_MPI}
    needs_group = (count or 0) > 1 or sharded() or max(of_mpi.values()) > 1
    if count and number is not None and number < count and not lacking and needs_group:
        if os.environ["MASTER_PORT"] == "0":  # of torchrun; accelerate launch takes a free one instead
            raise CodeparrotError(
                "MASTER_PORT is 0, where no process finds the others: name a free port, or use torchrun --standalone"
            )
        return count
    if count and count > 1:
        fault = f"{lacking[0]} is not set" if lacking else f"RANK is {os.environ['RANK']}"
        raise CodeparrotError(f"WORLD_SIZE is {count} but {fault}: {_NO_LAUNCHER}")
    for name, size in of_mpi.items():
        if size > 1:
            raise CodeparrotError(f"{name} is {size} but WORLD_SIZE is not set: {_NO_LAUNCHER}")
    found = {name: os.environ.pop(name) for name in _OF_LAUNCHERS if name in os.environ}
    foreign = [f"{name}={value}" for name, value in found.items() if value not in ("", "1" if "SIZE" in name else "0")]
    if foreign:
        _warn("%s: set by another program; this process runs alone", " ".join(foreign))
    return 1


def sharded() -> str:
    """Return what the launch configuration shards the model with: DeepSpeed, FSDP or nothing."""
    asked = (name for name in ("DeepSpeed", "FSDP") if os.environ.get(f"ACCELERATE_USE_{name.upper()}", "").lower() == "true")
    return next(asked, "")


_NO_LAUNCHER = (
    "no launcher started this process; for several processes use `accelerate launch --config_file launch/ddp.yaml "
    "codeparrot/train.py ...`, for one unset these variables"
)


def _whole(name: str) -> int | None:
    """Return an environment variable that is a whole number, else None."""
    value = os.environ.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else None


def find_home() -> None:
    """Give a process whose user has no home folder or no name (a container under a foreign number) one of each.

    Libraries keep caches there. Some end without a home, and others make a folder called ~.
    """
    try:
        Path.home()
    except RuntimeError:
        import atexit
        import shutil
        import tempfile

        os.environ["HOME"] = tempfile.mkdtemp(prefix=LENT_HOME)
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)
        _warn("there is no home folder (HOME): downloads and caches of this process are not kept")
    import getpass

    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["USER"] = str(os.getuid())


def _warn(text: str, *values: object) -> None:
    import logging  # every command comes by here, and few have something to say

    logging.getLogger("codeparrot").warning(text, *values)


def open_closed_streams() -> None:
    """Give a standard stream that is closed (`>&-`, some daemons) a place that takes everything.

    Otherwise the next file that is opened would get its number, and what a library prints would land in that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123 - kept for the life of the process


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

"""The warm interpreter of a sandbox: it forks a process a program, ends it, and says what it cost and what it left.

It is the first process of its pid namespace, so that nothing inside can stop or kill it, and not dumpable, so that nothing
inside can read its memory or take its descriptors. It never reads a program or a test itself: the forked process does, from a
file that it alone is given. So no program finds another's text, or a reference solution, in memory that it inherits.

Messages are encoded tuples, one a packet:

    to it      ("run", task, cpu_seconds, limits) with two descriptors, the channel and the sheet; ("stop",)
    from it    ("ready",); ("done", exit status or minus the signal, CPU seconds, why it was ended, what it left)

An empty read means that the harness is gone: the zygote ends, and with it, as the first of its namespace, everything in it.
"""

import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

from . import candidate, tester, weak
from .channel import Channel
from .codec import decode, encode

PACKET_BYTES = 65536
OUT_OF_MEMORY = 77
"""Exit status of a process that had no memory left to say so."""
_PR_SET_DUMPABLE = 4
_POLL_MILLISECONDS = 50

# Imported before the fork, because most programs import them: each would cost every program that does milliseconds.
PRELOAD = "bisect collections copy functools heapq itertools math operator random re string typing".split()


def main() -> None:
    """Serve until the control socket closes. Arguments: its descriptor, and `isolated` or `open`."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=int(sys.argv[1]))
    isolated = sys.argv[2] == "isolated"
    if isolated:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL if isolated else signal.SIG_IGN)
    for name in PRELOAD:
        __import__(name)
    sys.path[:] = [path for path in sys.path if path != "/inside"]
    # Standard error told the harness about a failed start. From here on, nothing that is printed goes anywhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    gc.collect()
    gc.freeze()
    control.send(encode(("ready",), PACKET_BYTES))
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, PACKET_BYTES, 4)
        if not data:
            return
        message = decode(data)
        if message[0] == "stop":
            # It crossed the report of a run that had ended by itself.
            continue
        report = _run(control, isolated, descriptors, *message[1:])
        control.send(encode(("done", *report), PACKET_BYTES))
        if report[-1]:
            return


def _run(
    control: socket.socket, isolated: bool, descriptors: list[int], task: str, cpu_seconds: float, limits: dict[str, int]
) -> tuple[int, float, str, str]:
    before = _cpu_of_children()
    pid = os.fork()
    if pid == 0:
        _child(control, isolated, descriptors, task, limits)
    for descriptor in descriptors:
        os.close(descriptor)
    status, why = _wait(control, pid, cpu_seconds)
    left = _left(isolated, pid)
    return os.waitstatus_to_exitcode(status), _cpu_of_children() - before, why, left


def _wait(control: socket.socket, pid: int, cpu_seconds: float) -> tuple[int, str]:
    """Wait until the process ends, has used its CPU time, or is not wanted any more."""
    clock = (~pid << 3) | 2  # the CPU clock of another process: clock_getcpuclockid(3)
    handle = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(control, select.POLLIN)
    why = ""
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(_POLL_MILLISECONDS)}
        if handle in ready:
            break
        if control.fileno() in ready:
            data = control.recv(PACKET_BYTES)
            if not data:
                # Ends the namespace, or at least this process's part.
                os.kill(pid, signal.SIGKILL)
                os._exit(0)
            why = "stopped"
        elif time.clock_gettime(clock) > cpu_seconds:
            why = "cpu"
        if why:
            os.kill(pid, signal.SIGKILL)
            break
    os.close(handle)
    return os.waitpid(pid, 0)[1], why


def _left(isolated: bool, pid: int) -> str:
    """End whatever the program left running and return what that was; an empty string when it left nothing."""
    left = []
    try:
        if isolated:
            os.kill(-1, signal.SIGKILL)
        else:
            os.killpg(pid, signal.SIGKILL)
        left.append("processes")
        while True:
            os.waitpid(-1, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    if os.listdir("."):  # noqa: PTH208 - a pathlib import would cost every fork
        left.append("files")
    return " and ".join(left)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _child(control: socket.socket, isolated: bool, descriptors: list[int], task: str, limits: dict[str, int]) -> None:
    """Run one task in this process and end it. Of the descriptors only the channel is left when foreign code runs."""
    status = 1
    try:
        os.setsid()
        control.detach()
        channel, sheet = descriptors
        order = decode(os.pread(sheet, os.fstat(sheet).st_size, 0))
        keep = {0, 1, 2, channel} | ({sheet} if task in ("test", "observe", "calibrate") else set())
        _close_all_but(keep)
        _confine(limits, isolated)
        gc.enable()
        verdict = TASKS[task](Channel(channel, limits["output_bytes"]), *order)
        if verdict is not None:
            os.ftruncate(sheet, 0)
            os.pwrite(sheet, encode(verdict, PACKET_BYTES), 0)
        status = 0
    except MemoryError:
        status = OUT_OF_MEMORY
    finally:
        os._exit(status)


def _close_all_but(keep: set[int]) -> None:
    start = 0
    for descriptor in sorted(keep):
        if start < descriptor:
            # An empty range would close everything: close_range(2) takes the end before 0 for the last there is.
            os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, 1 << 20)


def _confine(limits: dict[str, int], isolated: bool) -> None:
    for name, value in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        resource.setrlimit(name, (value, value))
    if isolated:
        # Counted within the namespace. Outside one it would count every process of the user.
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["processes"], limits["processes"]))


def calibrate(channel: Channel) -> dict[str, float]:
    """Return the CPU seconds that a fixed piece of work takes."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        total, table = 0, {}
        for number in range(20_000):
            total += number * number % 7
            table[number & 255] = str(total)
        best = min(best, time.process_time() - start)
    return {"seconds": best}


TASKS: dict[str, Any] = {
    "program": candidate.run,
    "test": tester.run,
    "weak": weak.run,
    "observe": weak.observe,
    "calibrate": calibrate,
}

"""The warm interpreter of a sandbox: it forks a process for each task, ends it, and reports its cost and what it left.

It is the first process of its pid namespace, so nothing inside can stop or kill it. It is not dumpable, so nothing inside can
read its memory or take its descriptors. It never reads a program or a test itself: the forked process does, from a file that
only that process is given. So no program finds another's text, or a reference solution, in memory that it inherits.

Messages are encoded tuples, one a packet:

    to it      ("limits", limits, those of programs in Python) first;
               ("run", task, CPU seconds) with two descriptors, a socket and the sheet;
               ("stop", seconds in which the process may still end by itself)
    from it    ("ready",); ("done", exit status or minus the signal, CPU seconds, why it was ended, what it left)

An empty read means that the harness is gone: the zygote ends, and as the first of its namespace it takes everything else along.
It never ends before: a socket that closes with a message unread takes back the report that was sent last.
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
from collections.abc import Callable
from typing import Any

from . import candidate, tester, toolchain, weak
from .channel import Channel, encode_frame
from .codec import decode, encode

PACKET_BYTES = 65536
OUT_OF_MEMORY = 77
"""Exit status of a process that had no memory left to say so."""
_PR_SET_DUMPABLE = 4
_POLL_MILLISECONDS = 50

# Imported before the fork, because many programs import them and each import costs milliseconds. A module with a shared library
# (random, hashlib) would make every fork more expensive instead.
PRELOAD = "bisect collections copy functools heapq itertools math operator re string typing".split()


def main() -> None:
    """Serve until the control socket closes. Arguments: its descriptor, `isolated` or `open`, a folder of packages."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=int(sys.argv[1]))
    isolated = sys.argv[2] == "isolated"
    # Programs get no other inherited descriptor.
    if control.fileno() > 3:
        # Python passes the end less one: for 0 that is -1, which close_range(2) reads as the highest descriptor.
        os.closerange(3, control.fileno())
    os.closerange(control.fileno() + 1, 1 << 20)
    _, limits, own = decode(control.recv(PACKET_BYTES))
    _confine(limits, isolated)
    if isolated:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL if isolated else signal.SIG_IGN)
    for name in PRELOAD:
        __import__(name)
    _warm_up()
    # The harness is imported; the packages come last.
    sys.path[:] = [*sys.path[1:], *filter(None, sys.argv[3:])]
    # Until now, standard error told the harness about a failed start. From here on, all output is discarded.
    os.dup2(1, 2)
    gc.collect()
    gc.freeze()
    control.send(encode(("ready",), PACKET_BYTES))
    _serve(control, isolated, own)


def _serve(control: socket.socket, isolated: bool, own: dict[str, int]) -> None:
    """Run one task after another until the harness closes its side; once one has left something, run no other."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, PACKET_BYTES, 4)
        if not data:
            return
        message = decode(data)
        if message[0] == "stop":
            # It crossed with the report of a run that had ended by itself.
            continue
        report = _run(control, isolated, descriptors, own, *message[1:])
        control.send(encode(("done", *report), PACKET_BYTES))
        if report[-1]:
            while control.recv(PACKET_BYTES):
                pass
            return


def _warm_up() -> None:
    """Judge one program here, so that the allocations and caches of a first run exist before every fork."""
    ours, theirs = socket.socketpair()
    channel = Channel(os.dup(theirs.fileno()), PACKET_BYTES)
    with ours, theirs:
        os.write(ours.fileno(), encode_frame(("call", ([1.5, "a"], {}), {}), PACKET_BYTES))
        function = candidate.define("from typing import List\n\ndef f(a, b):\n    return a")["f"]
        candidate.answer(channel, function, *channel.receive()[1:])
        tester.prepare("def f(a, b):\n    pass", "def check(f):\n    assert f(1) == 2", "f")
    channel.close()
    del sys.modules["program"]


def _run(
    control: socket.socket, isolated: bool, descriptors: list[int], own: dict[str, int], task: str, cpu_seconds: float
) -> tuple[int, float, str, str]:
    before, unchanged = _cpu_of_children(), _scratch_changed()
    pid = os.fork()
    if pid == 0:
        _child(control.fileno(), isolated, descriptors, own, task)
    for descriptor in descriptors:
        os.close(descriptor)
    status, why = _wait(control, pid, cpu_seconds)
    left = _left(isolated, pid, unchanged)
    return os.waitstatus_to_exitcode(status), _cpu_of_children() - before, why, left


def _wait(control: socket.socket, pid: int, cpu_seconds: float) -> tuple[int, str]:
    """Wait until the process ends, has used its CPU time, or is no longer wanted."""
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
            poll.unregister(control)
            if poll.poll(1000 * decode(data)[1]):
                break
            why = "stopped"
        elif time.clock_gettime(clock) > cpu_seconds:
            why = "cpu"
        if why:
            os.kill(pid, signal.SIGKILL)
            break
    os.close(handle)
    status = os.waitpid(pid, 0)[1]
    if why == "stopped" and os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        # A process that ends closes its channel before it can be waited for: the others may see that first.
        why = ""
    return status, why


def _left(isolated: bool, pid: int, unchanged: int) -> str:
    """End whatever the program left running, and return what it left; an empty string if nothing."""
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
    if _scratch_changed() != unchanged:
        left.append("files")
    return " and ".join(left)


def _scratch_changed() -> int:
    """Return when the scratch folder last changed: its files, its mode, its attributes. No program can set this time."""
    try:
        return os.stat(".").st_ctime_ns  # noqa: PTH116 - pathlib would make every fork more expensive
    except PermissionError:
        # Only a program that changed the mode can cause this.
        return -1


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _child(control: int, isolated: bool, descriptors: list[int], own: dict[str, int], task: str) -> None:
    """Run one task in this process and end it. When foreign code runs, only the socket and the standard three are open."""
    status = 1
    try:
        os.close(control)
        if not isolated:
            os.setsid()
        socket_descriptor, sheet = descriptors
        order = decode(os.pread(sheet, os.fstat(sheet).st_size, 0))
        os.close(sheet)
        if task not in BUILT:
            _confine(own, isolated)
        gc.enable()
        TASKS[task](socket_descriptor, own["output_bytes"], *order)
        status = 0
    except MemoryError:
        status = OUT_OF_MEMORY
    finally:
        os._exit(status)


def _confine(limits: dict[str, int], isolated: bool) -> None:
    """Set the limits on this process, from which all that it starts inherit them."""
    values = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if isolated:
        # Counted within the namespace, this process included. Outside one it would count every process of the user.
        values[resource.RLIMIT_NPROC] = limits["processes"] + 1
    for name, value in values.items():
        most = resource.getrlimit(name)[1]
        limit = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(name, (limit, limit))


def program(descriptor: int, max_bytes: int, source: str, entry_point: str) -> None:
    candidate.run(Channel(descriptor, max_bytes), source, entry_point)


def weak_program(descriptor: int, max_bytes: int, source: str, test: str, entry_point: str) -> None:
    weak.run(Channel(descriptor, max_bytes), source, test, entry_point)


def session(prepare: Callable[..., Callable[[Channel], dict[str, str]]]) -> Callable[..., None]:
    """Return a task that judges the programs of one problem one after another: it takes a channel and sends its verdict."""

    def serve(descriptor: int, max_bytes: int, *order: Any) -> None:
        harness = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor)
        judge = prepare(*order)
        while True:
            data, descriptors, _, _ = socket.recv_fds(harness, 1, 1)
            if not data:
                return
            channel = Channel(descriptors[0], max_bytes)
            verdict = judge(channel)
            channel.close()
            harness.send(encode(verdict, PACKET_BYTES))

    return serve


def calibrate(descriptor: int, max_bytes: int) -> None:
    """Send the CPU seconds that a fixed piece of work takes, and how many seconds passed per CPU second."""
    best, all_started, clock = float("inf"), time.process_time(), time.monotonic()
    for _ in range(4):
        start = time.process_time()
        total, table = 0, {}
        for number in range(20_000):
            total += number * number % 7
            table[number & 255] = str(total)
        best = min(best, time.process_time() - start)
    passed = (time.monotonic() - clock) / (time.process_time() - all_started)
    os.write(descriptor, encode((best, passed), PACKET_BYTES))


TASKS: dict[str, Callable[..., None]] = {
    "program": program,
    "weak": weak_program,
    "test": session(tester.prepare),
    "observe": session(weak.observer),
    "calibrate": calibrate,
    "built": toolchain.program,
    "built together": toolchain.together,
    "built test": session(toolchain.tester),
}
BUILT = ("built", "built together", "built test")
"""Those that need more than a program in Python: they set the limits of what they start."""

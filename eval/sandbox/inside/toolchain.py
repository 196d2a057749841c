"""Programs and tests in other languages: build them with the language's own tools, run them, say how they ended.

The strong way is that of Python (candidate.py, tester.py): program and test are two processes in two sandboxes, which exchange
plain data over a channel (harness/values.js, harness/remote.hpp). The program's process becomes the program, and nothing that
it does decides anything. The test's process is built once and serves the programs of its problem one after another.

The weaker way, where a language has no such harness or a test needs live objects: program and test are one process. It passed
if it ended with status 0 and its output ends in a number, which stands there once. Half of that number is written into the part
behind the test, whose text is gone from the disk before the program starts; the other half waits in standard input until that
part reads it. So leaving early, with any status, printing, or reading the program's own text gains nothing. It cannot withstand
a program that was written against this file, or one that changes what the test calls. Another process watches it, whose memory
and descriptors it cannot reach.
"""

import fcntl
import os
import re
import resource
import select
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from .channel import Channel, Closed
from .tester import printable

HARNESS = f"{os.path.dirname(os.path.abspath(__file__))}/harness"  # noqa: PTH100, PTH120 - see zygote.py
NUMBER = "@NUMBER@"
"""Stands in a text for the first half of the number."""
MAX_SAID_BYTES = 1 << 16
"""Most of what is kept of an output; the rest is read and forgotten."""
ENDS = {0: "passed", 10: "failed", 11: "error", 12: "gone", 13: "out_of_memory", -signal.SIGABRT: "failed"}
"""How a test's process ends, and what that says."""
_ENVIRONMENT = {"PATH": "/usr/bin", "LC_ALL": "C.UTF-8"}


class Bounds(NamedTuple):
    """What building and running may use."""

    build_cpu_seconds: float
    cpu_seconds: float
    build_memory_bytes: int
    memory_bytes: int
    """Data of a process; memory that it only reserves does not count."""
    address_bytes: int
    file_bytes: int
    processes: int
    """Of the program, its runtime's threads and the sandbox itself."""


class Steps(NamedTuple):
    """How a program comes into being. `{harness}` in a command stands for the folder of that name."""

    files: tuple[tuple[str, str], ...]
    """Names and texts of files in the scratch folder."""
    source: str
    """Standard input: of the build, or of the program where nothing is built."""
    build: tuple[str, ...]
    run: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    """Of the environment. Without /proc, programs do not find by themselves what lies beside them."""
    bounds: Bounds

    @staticmethod
    def of(order: tuple[Any, ...]) -> "Steps":
        files, source, build, run, variables, bounds = order
        return Steps(files, source, build, run, variables, Bounds(*bounds))


def program(descriptor: int, max_bytes: int, *order: Any) -> None:
    """Build the program and become it; it answers over descriptor 3."""
    steps = Steps.of(order)
    trouble = _build(steps)
    if trouble:
        body = f"C{trouble}".encode("utf-8", "replace")
        os.write(descriptor, struct.pack("<I", len(body)) + body)
        return
    given = _file(steps.source) if not steps.build else os.open(os.devnull, os.O_RDONLY)
    out = os.open(os.devnull, os.O_WRONLY)
    _become(steps.run, {0: given, 1: out, 2: out, 3: descriptor}, steps, building=False)


def tester(*order: Any) -> Callable[[Channel], dict[str, str]]:
    """Build a test; return what judges the program at the other end of a channel."""
    steps = Steps.of(order)
    trouble = _build(steps)

    def judge(channel: Channel) -> dict[str, str]:
        if trouble:
            return {"outcome": "error", "detail": f"the test does not compile: {trouble}"}
        try:
            kind, text = _first(channel)
        except Closed:
            return {"outcome": "gone", "detail": ""}
        if kind == "C":
            return {"outcome": "compile_error", "detail": printable(text)}
        if kind != "R":
            return {"outcome": "error", "detail": printable(text)}
        given = _file(steps.source) if not steps.build else os.open(os.devnull, os.O_RDONLY)
        status, said = _watched(steps.run, {0: given, 3: channel.fileno()}, steps, errors=True)
        os.close(given)
        return {"outcome": ENDS.get(status, "error"), "detail": printable(_line(said) if status else "")}

    return judge


def together(descriptor: int, max_bytes: int, *order: Any) -> None:
    """Run program and test as one process and send how it ended: the weaker way."""
    steps = Steps.of(order)
    channel = Channel(descriptor, max_bytes)
    halves = os.urandom(16).hex(), os.urandom(16).hex()
    steps = steps._replace(
        files=tuple((name, text.replace(NUMBER, halves[0])) for name, text in steps.files),
        source=steps.source.replace(NUMBER, halves[0]),
    )
    outcome, detail = _together(steps, halves, max_bytes)
    number = channel.receive()[1]
    channel.send(outcome, number if outcome == "passed" else printable(detail))


def _together(steps: Steps, halves: tuple[str, str], max_bytes: int) -> tuple[str, str]:
    trouble = _build(steps)
    if trouble:
        return "compile_error", trouble
    if steps.build:
        for name, _ in steps.files:
            os.unlink(name)  # noqa: PTH108
    given, end = os.pipe()
    os.write(end, f"{halves[1]}\n".encode())
    os.close(end)
    errors = _file("")
    status, said = _watched(steps.run, {0: given, 2: errors}, steps, max_bytes=max_bytes)
    complaint = _line(os.pread(errors, MAX_SAID_BYTES, 0))
    number = "".join(halves).encode()
    if status == 0:
        # The program may print; the number comes last, and once.
        whole = said.rstrip().endswith(number) and said.count(halves[0].encode()) == said.count(halves[1].encode()) == 1
        return ("passed", "") if whole else ("error", "it ended before its test did")
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        return "timed_out", f"more than {steps.bounds.cpu_seconds:.3g} s of CPU time, or too much output"
    if re.search("assert", complaint, re.IGNORECASE) or b"--- FAIL" in said:
        return "failed", complaint or _line(said)
    ended = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return ("error" if status > 0 else "killed"), f"{ended}: {complaint}"


def _first(channel: Channel) -> tuple[str, str]:
    """Return the kind of a program's first frame, one letter, and its text. Raises Closed."""
    length = struct.unpack("<I", _exactly(channel.fileno(), 4))[0]
    if not 1 <= length <= MAX_SAID_BYTES:
        return "?", "the program's first answer is not one"
    body = _exactly(channel.fileno(), length).decode("utf-8", "replace")
    return body[0], body[1:]


def _exactly(descriptor: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        try:
            part = os.read(descriptor, length - len(data))
        except OSError:
            raise Closed from None
        if not part:
            raise Closed
        data += part
    return data


def _build(steps: Steps) -> str:
    """Write the files and build the program. Return what is wrong with it; an empty string if nothing."""
    for name, text in steps.files:
        if "/" in name:
            os.makedirs(name.rpartition("/")[0], exist_ok=True)  # noqa: PTH103
        with open(name, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
    if not steps.build:
        return ""
    given = _file(steps.source)
    status, said = _watched(steps.build, {0: given}, steps, errors=True, building=True)
    os.close(given)
    if status == 0:
        return ""
    text = said.decode("utf-8", "replace")
    if status == -signal.SIGXCPU or "CPU time limit exceeded" in text or "Killed signal" in text:
        return f"the compiler took more than {steps.bounds.build_cpu_seconds:.3g} s of CPU time, or too much memory"
    wrong = [line for line in text.splitlines() if "error" in line.lower()]
    return " ".join((wrong or [_line(said)])[0].split())[:300] or f"the compiler ended with status {status}"


def _watched(
    command: tuple[str, ...],
    descriptors: dict[int, int],
    steps: Steps,
    errors: bool = False,
    building: bool = False,
    max_bytes: int = 1 << 62,
) -> tuple[int, bytes]:
    """Run a command. Return its exit status, or minus the signal, and its output: the last of it, or of `errors` the first.

    It is killed when it has written more than `max_bytes`. What its children write after its end is not waited for.
    """
    reading, writing = os.pipe()
    silent = os.open(os.devnull, os.O_WRONLY)
    outputs = {1: silent, 2: writing} if errors else {1: writing, 2: silent}
    pid = os.fork()
    if pid == 0:
        try:
            _become(command, {**outputs, **descriptors}, steps, building)
        finally:
            os._exit(127)
    os.close(writing)
    os.close(silent)
    handle = os.pidfd_open(pid)
    os.set_blocking(reading, False)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(reading, select.POLLIN)
    said, total, ended = b"", 0, False
    while not ended:
        ready = {descriptor for descriptor, _ in poll.poll()}
        ended = handle in ready
        while True:
            try:
                part = os.read(reading, MAX_SAID_BYTES)
            except BlockingIOError:
                break
            if not part:
                if not ended:
                    poll.unregister(reading)
                break
            total += len(part)
            said = (said + part)[:MAX_SAID_BYTES] if errors else (said + part)[-MAX_SAID_BYTES:]
            if total > max_bytes:
                os.kill(pid, signal.SIGKILL)
                ended = True
                break
    status = os.waitpid(pid, 0)[1]
    os.close(handle)
    os.close(reading)
    return os.waitstatus_to_exitcode(status), said


def _become(command: tuple[str, ...], descriptors: dict[int, int], steps: Steps, building: bool) -> None:
    """Replace this process by a command with these descriptors and no other."""
    moved = {target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 16) for target, source in descriptors.items()}
    for target, source in moved.items():
        os.dup2(source, target)
    bounds = steps.bounds
    # Outside a namespace, this counts every process of the user.
    isolated = sys.argv[2:3] == ["isolated"]
    memory = bounds.build_memory_bytes if building else bounds.memory_bytes
    values = {resource.RLIMIT_DATA: memory, resource.RLIMIT_AS: memory * 4 if building else bounds.address_bytes}
    values[resource.RLIMIT_CPU] = max(1, round(bounds.build_cpu_seconds if building else bounds.cpu_seconds + 0.5))
    if not building:
        values[resource.RLIMIT_FSIZE] = bounds.file_bytes
        if isolated:
            values[resource.RLIMIT_NPROC] = bounds.processes
    for name, value in values.items():
        most = resource.getrlimit(name)[1]
        limit = value if most == resource.RLIM_INFINITY else min(value, most)
        # A CPU limit ends a process by a signal that says so, and a second later by one that cannot be caught.
        hard = limit + 1 if name == resource.RLIMIT_CPU and most == resource.RLIM_INFINITY else limit
        resource.setrlimit(name, (limit, hard))
    words = [word.replace("{harness}", HARNESS) for word in command]
    here = os.getcwd()  # noqa: PTH109
    os.execve(words[0], words, {**_ENVIRONMENT, "HOME": here, "TMPDIR": here, **dict(steps.variables)})  # noqa: S606


def _file(text: str) -> int:
    """Return an open file with a text that has no name: writing it leaves the scratch folder as it was."""
    try:
        descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:
        descriptor = os.open("source", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        os.unlink("source")  # noqa: PTH108
    data = memoryview(text.encode("utf-8", "surrogatepass"))
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _line(said: bytes) -> str:
    """Return what an output says in one short line."""
    return " ".join(said.decode("utf-8", "replace").split())[:300]

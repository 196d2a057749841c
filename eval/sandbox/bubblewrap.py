"""One sandbox: bubblewrap around a warm interpreter that forks one process per program (inside/zygote.py).

A process in it has a processor, memory and processes up to the limits, a scratch folder in memory, the running Python's
standard library with the data it reads (mounts.py), and one descriptor. It has no network, no other writable file, no /proc, no
/sys, no terminal, no programs of /bin and /usr/bin, no capabilities, no way to new namespaces, and sees no process outside. To
itself it is nobody (uid 65534); when started by root it is that outside too: limits do not bind root, not even in a sandbox. A
start costs about 0.1 s, a program about 2 ms.
"""

import functools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from codeparrot.errors import CodeparrotError
from codeparrot.eval.sandbox import mounts
from codeparrot.eval.sandbox.inside.codec import decode, encode
from codeparrot.eval.sandbox.seccomp import filter_program

NOBODY = 65534
PACKET_BYTES = 65536
MAX_SHEET_BYTES = 1 << 28
INSTALL = "install bubblewrap 0.8 or newer (apt install bubblewrap, dnf install bubblewrap)"
STAGE = "/mnt"
"""Where root mounts, privately, paths that other users may not enter: a Python below /root, for instance."""


@dataclass(frozen=True)
class Limits:
    """What one program may use. Times are for the reference machine and scale with the speed of this one."""

    cpu_seconds: float = 3.0
    """CPU time of all the program's processes together."""
    wall_seconds: float = 10.0
    """Time from start to verdict; catches programs that wait instead of computing."""
    memory_bytes: int = 1 << 30
    """Address space of each process."""
    processes: int = 16
    """Processes and threads at a time."""
    output_bytes: int = 1 << 23
    """Size of one answer to the test. A program's printed output is discarded."""
    file_bytes: int = 1 << 23
    """Size of one file."""
    scratch_bytes: int = 1 << 25
    """Size of the scratch folder, which is in memory."""
    open_files: int = 64
    """Descriptors of each process."""
    build_cpu_seconds: float = 20.0
    """CPU time of a compiler, in languages that have one; also added to `wall_seconds`."""
    build_memory_bytes: int = 1 << 31
    """Data of each of its processes."""

    def inside(self) -> dict[str, int]:
        """Return the limits that are set on the process itself."""
        names = ("memory_bytes", "processes", "output_bytes", "file_bytes", "open_files")
        return {name: getattr(self, name) for name in names}


def command(
    limits: Limits, packages: list[Path], control: int, seccomp: int, tools: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """Return the command line of a sandbox. Its interpreter talks over the descriptor `control` and can import `packages`.

    `tools` are further paths that it shows read-only, each with its place.

    Raises:
        CodeparrotError: bubblewrap is missing or too old, or, as root, setpriv is missing.
    """
    bubblewrap = _tool("bwrap", INSTALL)
    _check_version(bubblewrap)
    # When the machine runs out of memory, the kernel kills these processes first.
    words = ["/bin/sh", "-c", 'echo 1000 > /proc/self/oom_score_adj; exec "$@"', "sh"]
    binds = [*mounts.sources(packages), *tools]
    if os.geteuid() == 0:
        hidden = [
            index for index, (source, _) in enumerate(binds) if source.startswith(STAGE) or not mounts.open_to_all(source)
        ]
        if hidden:
            words += [bubblewrap, "--dev-bind", "/", "/", "--tmpfs", STAGE, "--cap-add", "ALL"]
            for index in hidden:
                source, place = binds[index]
                words += ["--ro-bind", source, f"{STAGE}/{index}"]
                binds[index] = (f"{STAGE}/{index}", place)
            words.append("--")
        identity = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs"]
        words += [_tool("setpriv", "install util-linux"), *identity]
    words += [bubblewrap, "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    words += ["--uid", str(NOBODY), "--gid", str(NOBODY)]
    words += ["--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox", "--seccomp", str(seccomp)]
    words += ["--clearenv", *_environment()]
    for source, place in binds:
        words += ["--ro-bind", source, place]
    words += mounts.system()
    for device in ("null", "zero", "random", "urandom"):
        words += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    # Named semaphores, as multiprocessing uses them, live in /dev/shm.
    words += ["--size", str(limits.scratch_bytes), "--tmpfs", "/tmp", "--symlink", "/tmp", "/dev/shm"]  # noqa: S108
    words += ["--remount-ro", "/", "--chdir", "/tmp", "--"]  # noqa: S108
    return [*words, *_interpreter(control, "isolated", "/inside", mounts.PACKAGES if packages else "")]


def _tool(name: str, remedy: str) -> str:
    found = shutil.which(name)
    if found is None:
        without = "or pass --unsafe to run without a sandbox"
        raise CodeparrotError(f"generated programs run in a sandbox, which needs {name}: {remedy}, {without}")
    return found


@functools.cache
def _check_version(bubblewrap: str) -> None:
    said = subprocess.run([bubblewrap, "--version"], capture_output=True, text=True, check=False).stdout.split()
    version = said[-1] if said else "?"
    if not all(part.isdigit() for part in version.split(".")) or tuple(map(int, version.split("."))) < (0, 8):
        raise CodeparrotError(f"bubblewrap {version} cannot set the limits that the sandbox needs: {INSTALL}")


def _interpreter(control: int, way: str, inside: str, packages: str) -> list[str]:
    start = f"import sys; sys.path.insert(0, {inside!r}); from inside.zygote import main; main()"
    # Not -I: it would ignore the fixed hash seed. The environment is otherwise empty, so nothing else comes from it.
    return [mounts.executable(), "-s", "-S", "-P", "-B", "-X", "utf8", "-c", start, str(control), way, packages]


def _environment() -> list[str]:
    # The fixed hash seed gives a set of strings the same order in every run and on both sides.
    return [word for name, value in _VARIABLES.items() for word in ("--setenv", name, value)]


_VARIABLES = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "HOME": "/tmp", "TMPDIR": "/tmp", "LC_ALL": "C.UTF-8"}  # noqa: S108


@contextmanager
def _on_processor(processor: int) -> Iterator[None]:
    """Run everything started here on one processor; a sandboxed process cannot change that: the filter refuses."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def next_packet(control: socket.socket) -> bytes:
    """Return the next message of a socket that keeps their borders; empty once the other side has closed and all are read."""
    try:
        return control.recv(PACKET_BYTES)
    except ConnectionResetError:
        # The other side closed with a message of ours unread. Linux says so before it hands out what that side had sent.
        return control.recv(PACKET_BYTES)


def _file_in_memory(name: str) -> BinaryIO:
    """Return an open file that a full disk cannot refuse."""
    return os.fdopen(os.memfd_create(name, os.MFD_CLOEXEC), "w+b")


class Sandbox:
    """A started sandbox. `select` watches its control socket; `receive` then returns a message, or None once it has ended."""

    def __init__(
        self,
        limits: Limits,
        packages: list[Path],
        processor: int,
        unsafe: bool = False,
        tools: Sequence[tuple[str, str]] = (),
        own: Limits | None = None,
    ) -> None:
        """`own` are the limits of programs in Python, where `limits` are wider for the tools of other languages."""
        self.ready = False
        self._scratch = tempfile.TemporaryDirectory(prefix="codeparrot-") if unsafe else None
        self._errors = _file_in_memory("errors")
        self.control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with inner, _file_in_memory("seccomp") as seccomp:
            if self._scratch is None:
                seccomp.write(filter_program())
                seccomp.seek(0)
                words = command(limits, packages, inner.fileno(), seccomp.fileno(), tools)
                place, environment = "/", None
            else:
                folders = str(packages[0].parent) if packages else ""
                words = _interpreter(inner.fileno(), "open", str(mounts.INSIDE.parent), folders)
                place = self._scratch.name
                # As in a sandbox: it has no local time, and no packages, whose time zones Python would use.
                local = {"HOME": place, "TMPDIR": place, "TZ": "UTC", "PYTHONTZPATH": str(mounts.zones() or "")}
                environment = {**_VARIABLES, **local}
            with _on_processor(processor):
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    pass_fds=(inner.fileno(), seccomp.fileno()),
                    cwd=place,
                    env=environment,
                    start_new_session=True,
                )
        self._send(encode(("limits", limits.inside(), (own or limits).inside()), PACKET_BYTES))

    def fileno(self) -> int:
        return self.control.fileno()

    def run(self, task: str, order: tuple[Any, ...], cpu_seconds: float, end: socket.socket) -> None:
        """Run one task with a socket, which is closed here. Only the task's own process reads the file with the order."""
        sheet = os.memfd_create("sheet", os.MFD_CLOEXEC)
        try:
            os.pwrite(sheet, encode(order, MAX_SHEET_BYTES), 0)
            with end:
                self._send(encode(("run", task, cpu_seconds), PACKET_BYTES), end.fileno(), sheet)
        finally:
            os.close(sheet)

    def stop(self, seconds: float = 0.0) -> None:
        """Tell the sandbox to end the running task unless it ends by itself within some seconds; its report follows."""
        self._send(encode(("stop", seconds), PACKET_BYTES))

    def _send(self, message: bytes, *descriptors: int) -> None:
        try:
            socket.send_fds(self.control, [message], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            # The sandbox has ended; the next `receive` says so.
            return

    def receive(self) -> tuple[Any, ...] | None:
        data = next_packet(self.control)
        message = decode(data) if data else None
        self.ready = self.ready or message == ("ready",)
        return message

    def why_not_started(self) -> str:
        """Return the last line that the sandbox wrote to standard error before it was ready."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"

    def kill(self) -> None:
        """Kill it; `receive` then reports the end."""
        self._process.kill()

    def close(self) -> None:
        """End the sandbox and everything in it."""
        self.control.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        if self._scratch is not None:
            self._scratch.cleanup()

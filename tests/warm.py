"""Processes that start warm: forked from one that has imported what training needs, which is most of the work of a short run.

`Warm` is used like `subprocess.Popen`; `main` runs in the process that is forked. What it runs is what the command line would
run, in a session and an environment of its own; under `accelerate launch`, torchrun's agent is real, and its processes are
forked too. With `BELOW` in its environment, so are the Python programs that it starts by `subprocess`, which stay its children
and in its process group. Tests of how a process starts use `subprocess`.
"""

import atexit
import contextlib
import gc
import importlib
import json
import math
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures.thread import _threads_queues
from itertools import dropwhile
from pathlib import Path
from typing import IO, Any, NamedTuple

ROOT = Path(__file__).parents[1]
OWN = {"FAULT", "WATCHED", "TORCH_EXTENSIONS_DIR", "PYTEST_CURRENT_TEST", "WARM_BELOW"}
"""Variables that no library reads when it is imported: processes in which they differ may have the same origin."""
IMPORTED = [
    *("accelerate.commands.launch", "deepspeed", "matplotlib.backends.backend_agg", "matplotlib.figure"),
    *("transformers.models.gpt2.modeling_gpt2", "codeparrot.training.parts", "codeparrot.training.saver"),
    *("codeparrot.training.deepspeed", "codeparrot.training.validation"),
]
BELOW = "WARM_BELOW"
"""A variable: where it is set, a warm process forks the Python programs that it starts."""
OPTIONS = ("-u", "-P", "-X", "faulthandler")
"""Of Python, that make no difference here."""
KEPT = 2
"""So many of the processes that are forked are kept, for environments used last."""


class Warm:
    """A command that runs in its own session, forked; with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], cwd: Path = ROOT) -> None:
        self.args, self.returncode = command, None
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        server = _server_for(environment)
        self._server = server.connect()
        job = json.dumps(_Job([str(word) for word in command], environment, str(cwd))).encode()
        with Path(os.devnull).open("rb") as nothing:
            socket.send_fds(self._server, [job], [nothing.fileno(), self._out.fileno(), self._err.fileno()])
        pid = self._server.recv(64)
        assert pid, server.log.read_text(encoding="utf-8")
        self.pid = int(pid)

    returncode: int | None

    def poll(self) -> int | None:
        try:
            return self.wait(1e-6)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._server.settimeout(timeout)
            try:
                status = self._server.recv(64)
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            assert status, f"the process that forks has ended before {self.args}"
            self.returncode = int(status)
            self._server.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return _text(self._out), _text(self._err)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Server:
    """The process that has imported everything. It ends when this object is closed, or this process ends."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path, self.log = f"{self._folder.name}/socket", Path(self._folder.name, "log")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.bind(self._path)
        listening.listen(64)
        with listening, self.log.open("wb") as log:
            # Last on the path: what is tested is imported from where the environment says.
            code = f"import sys; sys.path.append({str(ROOT)!r}); from tests.warm import main; main({listening.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[listening.fileno()],
            )

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self._path)
        return connection

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


_servers: dict[frozenset[tuple[str, str]], _Server] = {}


def _server_for(environment: dict[str, str]) -> _Server:
    key = frozenset((name, value) for name, value in environment.items() if name not in OWN)
    _servers[key] = _servers.pop(key, None) or _Server(environment)
    while len(_servers) > KEPT:
        _servers.pop(next(iter(_servers))).close()
    return _servers[key]


# From here on: the process that is forked.


class _Job(NamedTuple):
    argv: list[str]
    environment: dict[str, str]
    cwd: str


def _import_everything() -> None:
    for name in IMPORTED:
        importlib.import_module(name)


def _serve(listening: socket.socket) -> _Job:
    """Fork a process for each job; return, in that process, what it is to do."""
    running: dict[int, tuple[int, socket.socket]] = {}
    ended = False
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(listening, selectors.EVENT_READ)
        while running or not ended:
            for key, _ in selector.select():
                if key.fd == 0:
                    selector.unregister(0)
                    ended = True
                    continue
                if key.fileobj is not listening:
                    pid, connection = running.pop(key.fd)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    with contextlib.suppress(OSError), connection:  # a test that failed asks for it no more
                        connection.send(str(status).encode())
                    continue
                connection, _ = listening.accept()
                message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
                pid = os.fork()
                if pid == 0:
                    os.setsid()
                    for number, stream in enumerate(streams):
                        os.dup2(stream, number)
                    for each in (listening, connection, *(other for _, other in running.values())):
                        each.close()
                    return _Job(*json.loads(message))
                for stream in streams:
                    os.close(stream)
                connection.send(str(pid).encode())
                descriptor = os.pidfd_open(pid)
                running[descriptor] = (pid, connection)
                selector.register(descriptor, selectors.EVENT_READ)
    sys.exit(0)


def _run(job: _Job) -> None:
    """Do what `job.argv` says: a console script of this environment, or Python with a script, a module or a program."""
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    subprocess_handler.Popen = _Forked  # type: ignore[assignment, misc]
    subprocess.Popen = _below if BELOW in job.environment else _POPEN  # type: ignore[assignment, misc]
    os.environ.clear()
    os.environ.update(job.environment)
    os.chdir(job.cwd)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    program, *rest = sys.argv = job.argv
    name = Path(program).name
    if name == "codeparrot":
        from codeparrot.cli import entry

        entry()
    elif name == "accelerate":
        from accelerate.commands.accelerate_cli import main as accelerate

        accelerate()
    else:
        first, *others = sys.argv = [*dropwhile(OPTIONS.__contains__, rest)]
        if first == "-c":
            sys.argv = ["-c", *others[1:]]
            exec(others[0], {"__name__": "__main__"})
        elif first == "-m":
            sys.argv = others
            runpy.run_module(others[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(first, run_name="__main__")


_POPEN = subprocess.Popen


def _below(args: Any, *rest: Any, **options: Any) -> Any:
    """Stand for `subprocess.Popen`: what is a program of this environment's Python is forked, but for those of libraries."""
    words = [str(word) for word in args] if isinstance(args, list) else [""]
    own = Path(words[0]).parent == Path(sys.executable).parent and "-c" not in words
    return _Forked(words, **options) if own and not rest else _POPEN(args, *rest, **options)


def _opened(stream: Any) -> IO[bytes] | None:
    """Return the file of a stream. A pipe is a file here: nothing that is tested reads from one while the program runs."""
    if stream == subprocess.PIPE:
        return tempfile.TemporaryFile()
    return Path(os.devnull).open("wb") if stream == subprocess.DEVNULL else stream


class _Forked:
    """A program that is forked from the process that starts it: what is needed of `subprocess.Popen`."""

    def __init__(
        self,
        args: Sequence[str],
        env: dict[str, str] | None = None,
        *,
        cwd: str | Path | None = None,
        stdout: Any = None,
        stderr: Any = None,
        start_new_session: bool = False,
        **_: Any,
    ) -> None:
        self.args, self.returncode = args, None
        streams = [_opened(stream) for stream in (stdout, stderr)]
        self._pipes = [
            each if stream == subprocess.PIPE else None for each, stream in zip(streams, (stdout, stderr), strict=True)
        ]

        def program() -> None:
            if start_new_session:
                os.setsid()
            for number, stream in enumerate(streams, 1):
                if stream is not None:
                    os.dup2(stream.fileno(), number)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # type: ignore[assignment]
            atexit._clear()  # what the parent does at its end, where it prints, and its threads are its own
            _threads_queues.clear()  # type: ignore[attr-defined]
            _run(_Job(list(args), dict(os.environ if env is None else env), str(cwd or Path.cwd())))

        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _end_with(program)

    returncode: int | None

    def __enter__(self) -> "_Forked":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[Any, Any]:
        self.wait(timeout)
        out, err = (_text(file) if file else None for file in self._pipes)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(0.01)
        return status


def _end_with(action: Callable[[], None]) -> None:
    """End this process as Python does when `action` was the program; what called it never goes on."""
    status: Any = 0
    try:
        action()
    except SystemExit as ending:
        status = ending.code
    except BaseException:  # noqa: BLE001 - as Python does
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def main(listening: int) -> None:
    _import_everything()
    threads = len([*Path("/proc/self/task").iterdir()])
    if threads > 1:
        sys.exit(f"the imports started {threads - 1} threads, which a fork would lose")
    gc.freeze()
    _run(_serve(socket.socket(fileno=listening)))

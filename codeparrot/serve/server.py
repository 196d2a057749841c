"""The server process: its socket, its time limits for slow clients, and its end.

Guarantees: a port that is taken is one line; a client that is slow with its headers is hung up on, and so are connections
above a bound; the first SIGTERM or SIGINT
lets running requests finish within a grace and the process end with status 0, a second one ends it at once.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from codeparrot.errors import CodeparrotError
from codeparrot.serve.answers import openai_body, refusal, to_line
from codeparrot.serve.app import make_app
from codeparrot.serve.fields import Refused
from codeparrot.serve.service import Service

if TYPE_CHECKING:
    from codeparrot.generation.engine import Engine

HEADER_SECONDS = 10.0
"""Until the headers of a request are there."""
UNREAD_SECONDS = 60
"""How long a client may leave an answer unread, on Linux."""
GIVE_UP_SECONDS = 1
"""For the last words to those whose requests did not finish within the grace."""
MOST_CONNECTIONS = 512
"""While there are more, requests are answered with 503."""
MOST_OPEN = 768
"""More are hung up on unheard: many systems give a process 1,024 descriptors."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound.

    Raises:
        CodeparrotError: it cannot be.
    """
    if not 0 <= port <= 65_535:  # the system would take it modulo 65,536
        raise CodeparrotError(f"--port {port} is none: from 0 (any that is free) to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        bound = socket.create_server(address[:2], family=family, backlog=2048)
        # Who reads nothing of an answer is hung up on; connections inherit it.
        if sys.platform == "linux":  # the only system that has this limit
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
        return bound
    except socket.gaierror as error:
        raise CodeparrotError(f'--host "{host}" is no address of this machine: {error.strerror}') from error
    except OSError as error:
        remedies = {
            errno.EADDRINUSE: "another program has it: give another --port (0: any that is free)",
            errno.EACCES: "only root may have it: give a --port from 1024 on",
            errno.EADDRNOTAVAIL: "this machine has no such address: give another --host",
        }
        remedy = remedies.get(error.errno or 0, os.strerror(error.errno or 0))
        raise CodeparrotError(f"port {port} of {host} cannot be used: {remedy}") from error


class _Protocol(H11Protocol):
    """HTTP by h11, with a time limit for headers; uvicorn has one only between requests."""

    _waiting: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST_OPEN:
            transport.abort()
            return
        self._waiting = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def data_received(self, data: bytes) -> None:
        between = self.timeout_keep_alive_task is not None
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()
        elif between and self.timeout_keep_alive_task is None:
            # The next request has begun, and its headers are not there yet.
            self._waiting = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP as all else is answered: with one line of JSON."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = to_line(openai_body(Refused(400, "the request is no HTTP that this server reads"))).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
            head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        # Else the request has been answered already, before its body was read.
        self.transport.close()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class Server(uvicorn.Server):
    """uvicorn's server, which ends with status 0 when it is asked to."""

    def __init__(self, service: Service, bound: str, key: str | None, grace_seconds: float) -> None:
        self._app = make_app(service, bound, key)
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(grace_seconds) + GIVE_UP_SECONDS,
        )
        super().__init__(config)
        self._service, self._grace_seconds = service, grace_seconds
        self._failure: BaseException | None = None
        # Clients that leave or send nonsense are no news.
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).setLevel(logging.ERROR)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request; with 503 where too many are connected."""
        if len(self.server_state.connections) > MOST_CONNECTIONS:
            words, headers = "too many connections: try again", {"Retry-After": "1", "Connection": "close"}
            await refusal(Refused(503, words, kind="overloaded_error", headers=headers), scope["path"])(scope, receive, send)
            return
        started = False

        async def note(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except asyncio.CancelledError:  # uvicorn's, behind the grace; as an error its traceback would be in the log
            if not started:
                refused = Refused(503, "the server is stopping", kind="unavailable_error", headers={"Connection": "close"})
                await refusal(refused, scope["path"])(scope, receive, send)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running requests finish; those that do not within the grace are told so."""
        over = asyncio.get_running_loop().call_later(self._grace_seconds, self._service.desk.give_up)
        try:
            await super().shutdown(sockets)
        finally:
            over.cancel()

    @contextlib.contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT stop the server in the block; in the main thread."""
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `stopped_by_signals`: uvicorn would raise them again at the end, and the status would be theirs."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End after running requests have finished; at the second signal at once."""
        if self.should_exit:
            os.write(2, b"stopped at once\n")
            os._exit(128 + sig)
        if left := self._service.desk.unfinished:
            os.write(2, f"stopping: {left} request{'' if left == 1 else 's'} may finish; again: stop at once\n".encode())
        self._service.state = "stopping"
        self.should_exit = True

    def run_until_stopped(
        self, bound: socket.socket, make_engine: "Callable[[], Engine]", greet: Callable[[], None] = lambda: None
    ) -> None:
        """Serve at a socket until a signal.

        Args:
            bound: from `listen`.
            make_engine: loads the model, in the desk's thread.
            greet: called when the model is there.

        Raises:
            CodeparrotError: the model cannot be loaded.
        """
        try:
            asyncio.run(self._until_stopped(bound, make_engine, greet))
        finally:
            if self._failure is not None:
                raise self._failure

    async def _until_stopped(
        self, bound: socket.socket, make_engine: "Callable[[], Engine]", greet: Callable[[], None]
    ) -> None:
        def engine() -> "Engine":
            first, made = self._service.state == "loading", make_engine()
            if first and self._service.state == "ready":
                greet()
            return made

        self._service.desk.start(engine, self._fail)
        try:
            await self.serve(sockets=[bound])
        finally:
            await self._service.desk.stop()

    def _fail(self, error: BaseException) -> None:
        self._failure, self.should_exit = error, True


def address_of(bound: socket.socket) -> str:
    """Return the address of a socket as a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"

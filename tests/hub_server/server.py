"""Connections and requests. Each connection has a thread; a request is recorded before its answer is sent.

A bug in the server ends the connection and prints the traceback on standard error.
"""

import contextlib
import http.server
import json
import select
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hub_server.access import Access, Identity
from tests.hub_server.errors import HubError
from tests.hub_server.faults import Faults, Rule
from tests.hub_server.store import Store

HOST = "127.0.0.1"
SENT_BYTES = 1 << 16
"""What is counted as sent is right to so many bytes, and what the buffers of the connection hold."""


@dataclass
class Request:
    method: str
    path: str
    """As sent: quoted, without the query."""
    query: dict[str, str]
    headers: Any
    identity: Identity | None
    chunks: Callable[[], Iterator[bytes]]
    """Yields the body; call it once."""

    def body(self) -> bytes:
        return b"".join(self.chunks())

    def json(self) -> Any:
        return json.loads(self.body() or b"{}")


@dataclass
class Answer:
    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def as_error(error: HubError) -> Answer:
    headers = {"X-Error-Message": error.message.replace("\n", " ")}
    if error.code:
        headers["X-Error-Code"] = error.code
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="Hub"'  # else git does not send its token
    return as_json({"error": error.message, **error.more}, error.status, **headers)


class Broken(Exception):
    """Raised to end the connection without an answer."""


class Server:
    """`route` turns a request into an answer or raises HubError."""

    def __init__(self, folder: Path, port: int, route: Callable[["Server", Request], Answer]) -> None:
        self.store = Store(folder)
        self.access = Access()
        self.faults = Faults()
        self.requests: list[dict[str, Any]] = []
        self.route = route
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._socket = self._bind(port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"

    def _bind(self, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        return listener

    def accept(self) -> None:
        """Start to accept connections; does nothing if it already does."""
        with self._lock:
            if not self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self._socket.listen(128)
                threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    def refuse(self) -> None:
        """Refuse new connections and end the open ones. The port stays ours: bound, but not listening."""
        with self._lock:
            hang_up(self._socket)
            self._socket.close()
            self._socket = self._bind(self.port)
            for connection in self._connections:
                hang_up(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return  # no longer listening
            with self._lock:
                if listener is not self._socket:
                    return connection.close()
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection, address), daemon=True).start()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        try:
            Handler(connection, address, self)  # pyright: ignore[reportArgumentType] (it uses nothing of a socketserver)
        except (ConnectionError, Broken):
            pass  # the other end went away, or a fault dropped it
        finally:
            with self._lock:
                self._connections.discard(connection)
            hang_up(connection)
            connection.close()


def hang_up(connection: socket.socket) -> None:
    """End a connection at once; sent data arrives, unread data is lost."""
    with contextlib.suppress(OSError):  # it may have ended by itself
        connection.shutdown(socket.SHUT_RDWR)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer takes 40 ms
    server: Any  # a Server
    rule: Rule | None
    entry: dict[str, Any]

    def log_message(self, format: str, *args: Any) -> None: ...

    def handle_request(self) -> None:
        server: Server = self.server
        path, _, query = self.path.partition("?")
        self.rule = server.faults.meet(self.command, path)
        kind = self.rule.kind if self.rule else None
        self.entry = {"method": self.command, "path": path, "query": query, "status": None, "fault": kind, "user": None}
        self.entry |= {"received_bytes": 0, "sent_bytes": 0, "started": time.time(), "range": self.headers.get("Range")}
        server.requests.append(self.entry)
        body = self._body()
        if kind == "stall":
            if self.command != "PUT":  # an object is harmless, and holding its upload is part of the stall
                body = iter(list(body))  # so that only the end of the connection is left to read below
            self._stall()
        if kind == "ignore_range":
            del self.headers["Range"]
            # Else the kernel would take megabytes that nobody reads.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_BYTES)
        answer = self._answer(path, query, body)
        for _ in body:
            pass  # unread data would be in the way of the next request
        self.entry["status"] = answer.status
        if kind == "lose_answer":
            raise Broken
        self._send(answer)

    do_HEAD = do_GET = do_POST = do_PUT = do_DELETE = handle_request

    def _answer(self, path: str, query: str, body: Iterator[bytes]) -> Answer:
        server: Server = self.server
        rule = self.rule
        if rule and rule.kind == "answer":
            answer = as_error(HubError(rule.status, rule.message, rule.code))
            if rule.retry_after is not None:
                answer.headers["Retry-After"] = str(rule.retry_after)
            return answer
        try:
            identity = server.access.identify(self.headers.get("Authorization", ""))
            self.entry["user"] = identity.name if identity else None
            pairs = dict(urllib.parse.parse_qsl(query))
            answer = server.route(server, Request(self.command, path, pairs, self.headers, identity, lambda: body))
        except HubError as error:
            answer = as_error(error)
        return answer

    def _body(self) -> Iterator[bytes]:
        """Yield the body in any encoding, within the speed limit, and only as far as a fault allows."""
        limit = self.server.faults.uploads
        if limit.rate is not None:  # else the kernel would buffer megabytes ahead of it
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limit.chunk_bytes)
        cut_at = self.rule.after_bytes if self.rule and self.rule.kind == "cut_upload" else None
        for chunk in self._chunked(limit) if "chunked" in self.headers.get("Transfer-Encoding", "") else self._sized(limit):
            limit.take(len(chunk))
            self.entry["received_bytes"] += len(chunk)
            if cut_at is not None and self.entry["received_bytes"] >= cut_at:
                raise Broken
            yield chunk
        if cut_at is not None:
            raise Broken

    def _sized(self, limit: Any) -> Iterator[bytes]:
        left = int(self.headers.get("Content-Length", 0))
        while left:
            chunk = self.rfile.read1(min(left, limit.chunk_bytes))
            if not chunk:
                raise Broken
            left -= len(chunk)
            yield chunk

    def _chunked(self, limit: Any) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            while size:
                chunk = self.rfile.read1(min(size, limit.chunk_bytes))
                if not chunk:
                    raise Broken
                size -= len(chunk)
                yield chunk
            self.rfile.readline()
        self.rfile.readline()

    def _stall(self) -> None:
        assert self.rule
        self.rule.ended.wait(self.rule.seconds)
        # A client that has given up meanwhile must not find later that its request was carried out.
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise Broken

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.content)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        content = answer.content
        if self.rule and self.rule.kind == "cut_download":
            content = content[: self.rule.after_bytes]
        for start in range(0, len(content), SENT_BYTES):
            self.wfile.write(part := content[start : start + SENT_BYTES])
            self.entry["sent_bytes"] += len(part)
        if len(content) < len(answer.content):
            raise Broken

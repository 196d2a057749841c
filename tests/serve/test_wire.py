"""What comes over a connection that is no good HTTP, or too many of them, gets one line of JSON at most and nothing else."""

import contextlib
import json
import logging
import socket
import time

import pytest

from codeparrot.serve import server
from tests.serve.conftest import Served

UPLOAD = b"POST %s HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n"


def connected(served: Served) -> socket.socket:
    host, port = served.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def heard(served: Served, *pieces: bytes) -> bytes:
    """Send pieces one after the other, and return what comes back until the server hangs up."""
    found = b""
    with connected(served) as raw, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        for piece in pieces:
            raw.sendall(piece)
            time.sleep(0.1)
        while part := raw.recv(65536):
            found += part
    return found


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        UPLOAD % (b"/v1/completions", b"localhost") + b"no chunk\r\n",
    ],
)
def test_what_is_no_http_is_refused_with_one_line_of_json(served: Served, sent: bytes) -> None:
    head, _, body = heard(served, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/json" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error" and b"\n" not in body


@pytest.mark.parametrize(
    ("path", "host"), [(b"/v1/completions", b"evil.example"), (b"/no", b"localhost"), (b"/", b"localhost")]
)
def test_a_body_that_breaks_after_its_answer_is_hung_up_on_without_a_word(
    served: Served, caplog: pytest.LogCaptureFixture, path: bytes, host: bytes
) -> None:
    with caplog.at_level(logging.ERROR):
        found = heard(served, UPLOAD % (path, host), b"no chunk\r\n")
    assert found.count(b"HTTP/1.1 4") == 1
    assert not caplog.records


def test_more_connections_than_the_bound_are_told_to_come_again_or_hung_up_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with monkeypatch.context() as few:
        few.setattr(server, "MOST_CONNECTIONS", 0)
        head, _, body = heard(served, ask).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ") and b"retry-after" in head.lower()
        assert json.loads(body)["error"]["type"] == "overloaded_error" and b"\n" not in body
        few.setattr(server, "MOST_OPEN", 0)
        assert heard(served, ask) == b""
    assert heard(served, ask).startswith(b"HTTP/1.1 200 ")

"""Who may talk to the server.

Guarantees
- A page of another site cannot use it through the user's browser: its Origin is refused, and the Host that DNS rebinding would
  send is none of ours. Pages of this machine may (CORS).
- With a key, all but the page's own files and /health need it. It is compared in constant time and never logged.

Where the server is bound to every address (0.0.0.0), any Host will do: names and addresses of the machine are many, and a
rebound page has no key.
"""

import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codeparrot.serve.answers import refusal
from codeparrot.serve.fields import Refused

PUBLIC = frozenset({"/", "/page.js", "/search.js", "/favicon.ico", "/health"})
"""What needs no key: it tells nothing of the model or its user."""
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?")
_ORIGIN = re.compile(r"https?://(?P<host>[^/]+)")


def is_local(host: str) -> bool:
    """Return whether a host to bind is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_everywhere(host: str) -> bool:
    """Return whether a host to bind stands for every address of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == ""


def _name(host: str) -> str | None:
    """Return the name or address in a Host header, or None if it is none."""
    found = _HOST.fullmatch(host)
    return _plain(found["six"] or found["name"]) if found else None


def _plain(name: str) -> str:
    """Return the one way to write a name or address: IPv6 has many."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().rstrip(".")


@dataclass(frozen=True)
class Guard:
    """Decides about a request from its headers. An ASGI middleware around the app."""

    app: Any
    bound: str
    """The host that the server is bound to."""
    key: str | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            shared = self._check(scope["method"], scope["path"], headers)
        except Refused as refused:
            await refusal(refused, scope["path"])(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await send({"type": "http.response.start", "status": 204, "headers": [*shared, *_preflight(headers)]})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_shared(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *shared]}
            await send(message)

        await self.app(scope, receive, send_shared)

    def _check(self, method: str, path: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        """Return the headers that share the answer with a page of this machine.

        Raises:
            Refused: the request is not let in.
        """
        host = _name(headers.get("host", ""))
        if host is None or not (host in _LOCAL or host == _plain(self.bound) or is_everywhere(self.bound)):
            raise Refused(403, "this Host is none of the server's: use its address", kind="permission_error")
        shared = self._shared(headers)
        if self.key is not None and path not in PUBLIC and method != "OPTIONS" and not self._has_key(headers):
            remedy = "send the key as Authorization: Bearer KEY"
            raise Refused(
                401, f"the API key is missing or wrong: {remedy}", kind="authentication_error", code="invalid_api_key"
            )
        return shared

    def _shared(self, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        origin = headers.get("origin")
        if origin is None:
            return []
        found = _ORIGIN.fullmatch(origin)
        name = _name(found["host"]) if found else None
        if found is None or not (name in _LOCAL or found["host"] == headers.get("host")):
            raise Refused(403, "pages of other sites may not use this server", kind="permission_error")
        return [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        assert self.key is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        sent = given.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(sent.encode("latin-1"), self.key.encode())


def _preflight(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    asked = headers.get("access-control-request-headers", "").encode("latin-1")
    return [(b"access-control-allow-methods", b"GET, POST"), (b"access-control-allow-headers", asked or b"*")]

"""Tokens: who a client is and whether it may write. An unknown token is refused, even where none is needed."""

import base64
import binascii
import secrets
import string
from typing import NamedTuple

from tests.hub_server.errors import HubError, repository_not_found

ALPHABET = string.ascii_letters + string.digits


def new_token() -> str:
    """Return a new token in the Hub's format."""
    return "hf_" + "".join(secrets.choice(ALPHABET) for _ in range(34))


class Identity(NamedTuple):
    name: str
    may_write: bool


class Access:
    """The tokens that the server knows."""

    def __init__(self) -> None:
        self._identities: dict[str, Identity] = {}

    def allow(self, token: str, name: str, role: str) -> None:
        """Accept a token; `role` is `read` or `write`."""
        self._identities[token] = Identity(name, role == "write")

    def deny(self, token: str) -> None:
        self._identities.pop(token, None)

    def identify(self, authorization: str) -> Identity | None:
        """Return whom a request's header identifies; None without a token. Git sends the token as the password."""
        scheme, _, credentials = authorization.partition(" ")
        if not scheme:
            return None
        if scheme.lower() == "basic":
            credentials = _password(credentials)
        identity = self._identities.get(credentials.strip())
        if identity is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return identity


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def require_write(identity: Identity | None) -> Identity:
    if identity is None:
        raise repository_not_found(401)
    if not identity.may_write:
        raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
    return identity

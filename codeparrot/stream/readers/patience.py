"""Asks a server again that does not answer, and says what is wrong in one line.

It is asked for PATIENCE_SECONDS, or $CODEPARROT_PATIENCE_SECONDS, which is said once. At the first contact it is FIRST_SECONDS,
since a mistyped address does not mend itself. After that the command ends with an error that names the file; what it has done
so far stays. What cannot mend itself (nothing there, no right to it) ends it at once.
"""

import errno
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from codeparrot.errors import CodeparrotError
from codeparrot.location import without_credentials
from codeparrot.stream.readers.rows import reason

logger = logging.getLogger("codeparrot")
Found = TypeVar("Found")

PATIENCE_SECONDS = 600.0
FIRST_SECONDS = 20.0
LONGEST_PAUSE = 15.0
WEB = ("https://", "http://")
BROKEN_OFF: ContextVar[threading.Event | None] = ContextVar("BROKEN_OFF", default=None)
"""Ends the waiting of a thread whose work nobody wants any more."""
_WITHOUT_CREDENTIALS = (
    *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "CredentialRetrievalError"),
    *("DefaultCredentialsError", "RefreshError", "MalformedError"),  # Google's
    *("ClientAuthenticationError", "CredentialUnavailableError", "AzureSigningError"),
)
_DENIED = (401, 403)
_SECRET = re.compile("key|secret|token|password|signature|sas|connection|^sig$", re.IGNORECASE)
"""Names of variables, and of parts of them, that are never shown."""
_SHORTEST_SECRET = 8
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What only a disk here answers, and no server."""
_MAY_MEND = {"408", "409", "429"}
_reached: set[str] = set()
"""Schemes that have answered this process."""
_silent: set[str] = set()
"""Those of which it has been said that they do not."""


class Missing(CodeparrotError):
    """There is nothing at an address."""


class Unanswered(CodeparrotError):
    """Nobody answered for long; it may mend itself."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(f"{why}; {remedy}" if remedy else why)
        self.why = why


class Changed(CodeparrotError):
    """A file is no longer what this process has begun to read."""


def patiently(call: Callable[[], Found], address: str, verb: str = "read") -> Found:
    """Return what a call returns, tried again while the server or the network fails.

    Raises:
        CodeparrotError: it fails for good, or for too long (Unanswered).
    """
    scheme, shown = address.partition("://")[0], without_credentials(address)
    given = float(os.environ.get("CODEPARROT_PATIENCE_SECONDS", PATIENCE_SECONDS))
    patience = given if scheme in _reached else min(given, FIRST_SECONDS)
    begun, pause = time.monotonic(), 0.1
    while True:
        try:
            found = call()
        except CodeparrotError:
            raise
        except Exception as error:
            lasting = _lasting(error, address, shown, verb)
            if lasting is not None:
                raise lasting from error
            waited = time.monotonic() - begun
            if waited >= patience:
                why = f"{_told(error)}; no answer for {waited:.0f} s"
                remedy = "see that the network and the server work, and start again: what is done is kept"
                raise Unanswered(f"cannot {verb} {shown}: {why}", remedy) from error
            if scheme not in _silent:
                _silent.add(scheme)
                left = f"for up to {patience:.0f} s"
                logger.warning("%s does not answer (%s): trying again %s", shown, _told(error), left)
            _wait(min(pause, max(0.0, patience - waited)), shown)
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        _reached.add(scheme)
        if scheme in _silent:
            _silent.discard(scheme)
            logger.warning("%s answers again", shown)
        return found


def _wait(seconds: float, shown: str) -> None:
    broken_off = BROKEN_OFF.get()
    if broken_off is None:
        time.sleep(seconds)
    elif broken_off.wait(seconds):
        raise CodeparrotError(f"{shown} is no longer wanted")


def of_this_thread() -> dict[str, Any]:
    """Return how a pool of threads is made whose waiting ends with that of this one."""
    return {"initializer": BROKEN_OFF.set, "initargs": (BROKEN_OFF.get(),)}


def until_broken_off(counted: Callable[[int], object]) -> Callable[[int], object]:
    """Return what counts the bytes that are moved for this thread, and ends that when nobody wants them any more."""
    broken_off = BROKEN_OFF.get()

    def count(num_bytes: int) -> object:
        if broken_off is not None and broken_off.is_set():
            raise CodeparrotError("what is fetched is no longer wanted")
        return counted(num_bytes)

    return count


@contextmanager
def waiting_for(broken_off: threading.Event) -> Iterator[None]:
    """Have the waiting of this thread end when an event is set."""
    token = BROKEN_OFF.set(broken_off)
    try:
        yield
    finally:
        BROKEN_OFF.reset(token)


def _lasting(error: Exception, address: str, shown: str, verb: str) -> CodeparrotError | None:
    """Return the error for what does not mend itself; None for what may."""
    if isinstance(error, OSError) and error.errno in FULL:
        return CodeparrotError(f"cannot {verb} {shown}: a disk of this machine is full ({_told(error)}); make room there")
    answer = getattr(error.__cause__, "response", None)
    code = str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""
    # fsspec says of a page that it is not there whatever went wrong.
    told = error.__cause__ if isinstance(error, FileNotFoundError) and address.startswith(WEB) else None
    status = _status(told or error)
    if told is not None and status not in (404, 410, *_DENIED):
        return None
    if isinstance(error, FileNotFoundError) and status not in _DENIED:
        return missing(address)
    if type(error).__name__ in _WITHOUT_CREDENTIALS and status is None:
        return unsigned(error, address, verb)
    # gcsfs raises an OSError that says so.
    if isinstance(error, PermissionError) or status in _DENIED or str(error).startswith("Forbidden: "):
        who = "your credentials have no right to it, or it needs some"
        return CodeparrotError(f"cannot {verb} {shown}: access denied ({_told(error)}): {who}{_how_to_sign_in(address)}")
    if code in ("PreconditionFailed", "412", "416", "InvalidRange") or status in (412, 416):
        return changed(address)
    is_bad = code.startswith("4") or code.startswith("Invalid") or (isinstance(status, int) and 400 <= status < 500)
    if (is_bad and not {code, str(status)} & _MAY_MEND) or isinstance(error, ValueError | TypeError):
        return CodeparrotError(f"cannot {verb} {shown}: {_told(error)}; mend the address or the settings of the store")
    return None


def _status(error: BaseException) -> int | None:
    """Return the status of HTTP that an error stands for, as aiohttp, gcsfs, Azure's client or the Hub's spells it."""
    for told in (error, getattr(error, "response", None)):
        for name in ("status", "status_code", "code"):
            value = str(getattr(told, name, ""))
            if value.isdecimal():
                return int(value)
    return None


def unsigned(error: Exception, address: str, verb: str = "read") -> CodeparrotError:
    """Return the error for credentials that are missing or of no use."""
    shown = without_credentials(address)
    return CodeparrotError(f"cannot {verb} {shown}: no credentials ({_told(error)}){_how_to_sign_in(address)}")


def _told(error: BaseException) -> str:
    """Return what a library says, on one line and without what the environment keeps secret."""
    told = str(error) or type(error).__name__
    for secret in _secrets():
        told = told.replace(secret, "***")
    return reason(Exception(told))


def _secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if _SECRET.search(name):
            # A connection string or a signature is made of parts with names.
            named = [part.partition("=") for part in re.split("[;&?]", value)]
            secrets = [value, *(own for part, _, own in named if _SECRET.search(part))]
            spelled = {*secrets, *map(unquote, secrets), *(quote(each, safe="") for each in secrets)}
            yield from sorted((each for each in spelled if len(each) >= _SHORTEST_SECRET), key=len, reverse=True)


_GOOGLE = (
    "; run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS or, for public data, "
    "FSSPEC_GS_TOKEN=anon"
)
_AZURE = (
    "; set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or "
    "AZURE_STORAGE_SAS_TOKEN), or AZURE_STORAGE_ANON=true for public data"
)
_SIGN_IN = {
    "s3": "; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for public data",
    **dict.fromkeys(("gs", "gcs"), _GOOGLE),
    **dict.fromkeys(("az", "abfs", "abfss"), _AZURE),
    "hf": "; run `hf auth login` or set HF_TOKEN",
}
"""What to do without credentials, by scheme."""


def _how_to_sign_in(address: str) -> str:
    return _SIGN_IN.get(address.partition("://")[0], "; sign in as for other programs of this store")


def missing(address: str) -> Missing:
    """Return the error for an address at which there is nothing."""
    kind = "page" if address.startswith(WEB) else "bucket, folder or file"
    more = "; single files are read from web servers, which cannot be listed" if address.startswith(WEB) else ""
    return Missing(f"{without_credentials(address)} does not exist: there is no such {kind}; mend the address{more}")


def changed(address: str) -> Changed:
    """Return the error for a file that was replaced."""
    return Changed(f"{address} was replaced while it was read; put it back as it was, or begin again with the new one")


def gone(address: str) -> Changed:
    """Return the error for a file that was listed, and is not there any more."""
    return Changed(f"{address} was removed after it was listed; put it back, or begin again without it")


def forget() -> None:
    """Forget which servers have answered, as a new process would."""
    _reached.clear()
    _silent.clear()

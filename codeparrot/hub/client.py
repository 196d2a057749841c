"""The client of the Hub: requests with time-outs, and errors in one line without secrets.

huggingface_hub waits indefinitely for a server that does not answer; here every request has a time-out. A token is used, never
shown: every error that is printed or logged goes through `reason`.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, get_token, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import disable_progress_bars
from huggingface_hub.utils import logging as hub_logging

from codeparrot.errors import CodeparrotError

TIMEOUT_SECONDS = 300.0
CONNECT_SECONDS = 10.0
LOG_IN = "`hf auth login`, or the environment variable HF_TOKEN"
FAILURES = (httpx2.HTTPError, OSError, ValueError, RuntimeError)
"""What the client raises when the Hub or the network fails, or the Hub refuses; anything else is a defect."""
_DENIED, _LATER, _MOVED = (401, 403), (408, 429), 412
_SECRETS = re.compile(r"hf_\w+|(?<=://)[^/\s@]+@|(?<=Bearer )\S+|\?[^\s'\")>]*")


def connect(timeout_seconds: float = TIMEOUT_SECONDS, sent: Callable[[int], object] | None = None) -> HfApi:
    """Return the client.

    Args:
        timeout_seconds: a request fails when its server is silent for this long.
        sent: called with the number of bytes of each piece of a request that has gone out (but not for uploads through Xet).
    """
    timeout = httpx2.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))

    def begin(request: httpx2.Request) -> None:
        if constants.is_offline_mode():
            raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
        if sent is not None:
            # Not a transport of our own: with one, the client would ignore the environment's proxies.
            request.stream = _Counted(request.stream, sent)

    def client() -> httpx2.Client:
        return httpx2.Client(event_hooks={"request": [begin]}, follow_redirects=True, timeout=timeout)

    set_client_factory(client)
    if not sys.stderr.isatty():
        disable_progress_bars()  # in a log, each of their states is a line
    hub_logging.set_verbosity_error()  # hides its retries and hints; their outcome is reported here
    return HfApi()


class _Counted(httpx2.SyncByteStream):
    """Reports the bytes of a request as they are sent."""

    def __init__(self, stream: Any, sent: Callable[[int], object]) -> None:
        self._stream, self._sent = stream, sent

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            yield piece
            self._sent(len(piece))

    def close(self) -> None:
        self._stream.close()


def offline() -> str:
    """Return why this machine does not contact the Hub, or an empty string."""
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return "" if get_token() else f"there is no token here (log in: {LOG_IN})"


def reason(error: BaseException) -> str:
    """Return an error as one line that holds no token, no password and no signed address."""
    # "Error while uploading ...", "cannot find the requested files in the local cache": the cause says more.
    told = [each for each in _chain(error) if not isinstance(each, RuntimeError | LocalEntryNotFoundError)]
    text = " ".join(str((told or [error])[0]).split()) or type(error).__name__
    token = get_token()
    if token:
        text = text.replace(token, "***")
    return _SECRETS.sub("***", text)[:300]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause's cause, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def _answer(error: BaseException) -> httpx2.Response | None:
    """Return the answer of the Hub behind an error, or None if there was none."""
    answers = (each.response for each in _chain(error) if isinstance(each, HfHubHTTPError | httpx2.HTTPStatusError))
    return next(answers, None)


def denied(error: BaseException) -> bool:
    """Whether the Hub rejects the token, or does not permit this request."""
    answer = _answer(error)
    return isinstance(error, LocalTokenNotFoundError) or (answer is not None and answer.status_code in _DENIED)


def moved(error: BaseException) -> bool:
    """Whether a commit was refused because its branch had moved on."""
    answer = _answer(error)
    return answer is not None and answer.status_code == _MOVED


def unreachable(error: BaseException) -> bool:
    """Whether the Hub did not answer, or said to come back later."""
    answer = _answer(error)
    if answer is not None:
        return answer.status_code in _LATER or answer.status_code >= 500
    return any(isinstance(each, httpx2.TransportError | OfflineModeIsEnabled) for each in _chain(error))


def retry_after(error: BaseException) -> float:
    """Return the seconds that the Hub asks to wait, or 0."""
    answer = _answer(error)
    with contextlib.suppress(ValueError):
        return max(0.0, float(answer.headers.get("Retry-After", 0))) if answer is not None else 0.0
    return 0.0


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn a failure of the Hub into one line.

    Args:
        what: what failed, such as "cannot read org/name".

    Raises:
        CodeparrotError: names the remedy.
    """
    try:
        yield
    except CodeparrotError:
        raise
    except FAILURES as error:
        if denied(error):
            remedy = f"log in with a token that may do so ({LOG_IN})"
        elif unreachable(error):
            remedy = "try again when the Hub can be reached"
        else:
            remedy = "check the name and your access to it"
        raise CodeparrotError(f"{what}: {reason(error)}; {remedy}") from error

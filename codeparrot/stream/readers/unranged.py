"""Files of servers that send them only as a whole: they answer a request for a part with all of it.

Such a file can be read from its beginning, as far as somebody wants it. That is said once a server. Parquet is not read so,
since its end comes first.
"""

import io
import logging
from functools import cache
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.location import ON_HUB
from codeparrot.stream.readers import remote
from codeparrot.stream.readers.patience import WEB, patiently
from codeparrot.stream.readers.rows import reason

logger = logging.getLogger("codeparrot")
_servers: dict[str, bool] = {}
"""Whether a server sends parts of files."""


def forget() -> None:
    """Forget what servers do, as a new process would."""
    _servers.clear()
    _say.cache_clear()


def by_ranges(address: str) -> bool:
    """Whether the server of a file sends parts of it; it is asked for one byte, once. Object stores do.

    Raises:
        CodeparrotError: the file cannot be reached.
    """
    if not address.startswith((*WEB, ON_HUB)) or remote.info(address).size < 2:
        return True
    server = "/".join(address.split("/")[:3]) if address.startswith(WEB) else ON_HUB
    if server not in _servers:
        _servers[server] = _on_hub(address) if server == ON_HUB else _on_web(address)
    if not _servers[server]:
        _say(server)
    return _servers[server]


@cache
def _say(server: str) -> None:
    logger.warning("%s sends files only as a whole: they are read from their beginnings, as far as they are needed", server)


def _on_web(address: str) -> bool:
    try:
        remote.read(address, 0, 1)
    except remote.Whole:
        return False
    return True


def _on_hub(address: str) -> bool:
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers

    def status() -> int:
        url = remote.file_system(address).url(address)
        with get_session().stream("GET", url, headers={**build_hf_headers(), "range": "bytes=0-0"}) as answer:
            return answer.status_code

    return patiently(status, address) != 200


class Beginning(io.RawIOBase):
    """A file that is read from its beginning on, in one request."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self._left = remote.info(address).size
        self._file: Any = patiently(lambda: remote.opened_whole(address), address)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:
            remedy = "its server sends it only as a whole, so start again, or fetch it first"
            raise CodeparrotError(f"cannot read {self.address}: {reason(error)}; {remedy}") from error
        self._left -= len(data)
        # Without a length in its answer, a server that dies looks like one that is done.
        if self._left < 0 or (self._left and not data and len(buffer)):
            raise CodeparrotError(f"{self.address} ended elsewhere than its server had said: start again, or fetch it first")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._file = None  # what remains of the answer goes with it
        super().close()

"""Files on object stores and web servers: `s3://`, `gs://`, `az://`, `https://` and the others of SCHEMES, by ranges.

fsspec finds the credentials, as for any other program (environment, profile, AWS_ENDPOINT_URL, FSSPEC_S3_ANON and the like);
they are never asked for, shown or written. A process has one file system of each scheme, also after a fork.

What is read is pinned to the version (ETag) that the file had when this process first saw it: on S3, a file that is replaced
meanwhile is an error, not a mixture of both. patience.py says what becomes of servers that do not answer; ranges.py fetches
ahead.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError, how_to_install
from codeparrot.location import ON_HUB, check_address, without_credentials
from codeparrot.stream.readers.patience import WEB, Missing, changed, gone, missing, patiently, unsigned

CALL_SECONDS = 300.0
"""One request takes no longer; a connection that says nothing ends sooner (s3fs: 15 s)."""
SLOWEST_BYTES_PER_SECOND = 100_000
"""A file that is written at less is given up, and tried again."""
S3_TRIES = 2
"""Of each request, which may be for a part of a large file; patience.py then begins again with the whole file."""
PACKAGES = {
    **dict.fromkeys(("s3",), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    **dict.fromkeys(("https", "http"), "aiohttp"),
}
"""What fsspec needs for a scheme."""
_VERSIONS = ("ETag", "etag", "content_md5", "md5Hash", "LastModified", "last_modified", "mtime", "blob_id")
_WRITTEN_BYTES = 1 << 23
_systems: dict[str, Any] = {}
"""By scheme."""
infos: "dict[str, Info]" = {}
"""By address: which version this process reads. A process that is forked reads the same."""
os.register_at_fork(after_in_child=_systems.clear)


class Info(NamedTuple):
    """What is known of a file without reading it."""

    size: int
    version: str
    """Changes with the content; empty where the server says nothing of the kind."""


class Place(NamedTuple):
    """An address in the place of a Path, as far as readers of windows and tables need one."""

    address: str

    def __truediv__(self, name: str) -> "Place":
        return Place(below(self.address, name))

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]

    def is_file(self) -> bool:
        return exists(self.address)

    def read_text(self, encoding: str) -> str:
        return read(self.address).decode(encoding)


class Whole(CodeparrotError):
    """A server sends a file only as a whole, however little of it is asked for."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} comes only as a whole, and is read by ranges: its server knows none; fetch it first")


def forget() -> None:
    """Forget connections and versions, as a new process would."""
    _systems.clear()
    infos.clear()


def file_system(address: str) -> Any:
    """Return the file system of fsspec that has this address.

    Raises:
        CodeparrotError: the address may not be used, or a package is missing.
    """
    if not address.startswith(ON_HUB):
        check_address(address)
    scheme = address.partition("://")[0]
    found = _systems.get(scheme)
    if found is not None:
        return found
    # Google's file system would also ask another server over gRPC for the kind of each bucket, which needs credentials that
    # public data do not, warns at each request without them, and does not survive a fork.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    gcsfs = logging.getLogger("gcsfs")
    if gcsfs.level == logging.NOTSET:
        gcsfs.setLevel(logging.CRITICAL)  # it logs each error that it raises, with its traceback
    try:
        import fsspec

        # Kept here and not by fsspec, which has one a thread; without its list of files, which would hide changes.
        made = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        package = PACKAGES[scheme]
        remedy = how_to_install(package) or f"pip install {package}"
        raise CodeparrotError(f"{without_credentials(address)}: {scheme}:// needs {package}: {remedy}") from error
    except ValueError as error:  # Azure's, which looks for credentials here
        raise unsigned(error, address) from error
    # Azure's client tries again by itself, for minutes and without a word. patience.py does that.
    policy = getattr(getattr(getattr(made, "service_client", None), "_config", None), "retry_policy", None)
    if policy is not None:
        policy.total_retries = 0
    # Amazon's too, and s3fs each of its tries again: 25 times 15 s for a server that takes connections and says nothing.
    if scheme == "s3":
        made.config_kwargs.setdefault("retries", {"total_max_attempts": 1})
        made.retries = S3_TRIES
    return _systems.setdefault(scheme, made)


def info(address: str) -> Info:
    """Return size and version of a file, as this process first saw them.

    Raises:
        CodeparrotError: there is no such file, or it cannot be reached.
    """
    if address not in infos:
        facts = patiently(lambda: file_system(address).info(inside(address)), address)
        if facts.get("type") == "directory":
            raise missing(address)
        infos.setdefault(address, info_of(facts, address))
    return infos[address]


def exists(address: str) -> bool:
    """Whether there is a file at an address; see `info`."""
    try:
        info(address)
    except Missing:
        return False
    return True


def below(folder: str, relative: str) -> str:
    """Return the address of a file by its path in a folder."""
    return f"{folder.rstrip('/')}/{relative}" if relative else folder


def read(address: str, start: int = 0, stop: int | None = None) -> bytes:
    """Return the bytes of a file from `start` up to `stop`, or to its end.

    Raises:
        CodeparrotError: it cannot be read, or is no longer what this process has begun to read.
    """
    return _read(address, start, stop, info(address))


def read_listed(address: str, known: Info, stop: int | None = None) -> bytes:
    """Return the bytes of a file that was listed, perhaps by another process, up to `stop`. Nothing is kept of it here.

    Raises:
        CodeparrotError: it cannot be read, or is no longer what was listed.
    """
    try:
        if not (address.startswith("s3://") and known.version):  # what S3 reads, it compares itself
            facts = patiently(lambda: file_system(address).info(inside(address)), address)
            if info_of(facts, address) != known:
                raise changed(address)
        return _read(address, 0, stop, known)
    except Missing as error:
        raise gone(address) from error


def _read(address: str, start: int, stop: int | None, known: Info) -> bytes:
    stop = known.size if stop is None else min(stop, known.size)
    if start >= stop:
        return b""
    data = patiently(lambda: now(get, address, start, stop, known), address)
    if len(data) == known.size != stop - start:
        raise Whole(address)
    if len(data) != stop - start:
        raise changed(address)
    return data


def write(address: str, local: Path) -> None:
    """Put a local file at an address and check what arrived, which is read back.

    Raises:
        CodeparrotError: it cannot be written, or something else arrived.
    """
    put(address, local)
    if not holds(address, local):
        raise CodeparrotError(f"{address} is not what was written to it: run the same command again")


def put(address: str, local: Path, progress: Any = None) -> None:
    """Put a local file at an address; what arrived is not checked.

    Args:
        address: of the file.
        local: the file here.
        progress: a callback of fsspec, which is told of the bytes that have gone.

    Raises:
        CodeparrotError: it cannot be written.
    """
    more = {"callback": progress} if progress is not None else {}

    def send() -> None:
        system, limit = file_system(address), CALL_SECONDS + local.stat().st_size / SLOWEST_BYTES_PER_SECOND
        if not system.async_impl:
            system.put_file(str(local), inside(address), **more)
            return
        from fsspec.asyn import sync

        # s3fs waits without a limit for a server that takes the connection and does not say that the file may come.
        sync(system.loop, system._put_file, str(local), inside(address), timeout=limit, **more)

    patiently(send, address, "write")
    infos.pop(address, None)


def fetch(address: str, local: Path, progress: Any = None) -> None:
    """Copy a file at an address to a place here, in whatever version it is by now; see `put`."""
    more = {"callback": progress} if progress is not None else {}
    patiently(lambda: file_system(address).get_file(inside(address), str(local), **more), address)


def forget_below(folder: str) -> None:
    """Forget which versions of the files in a folder this process has seen: they may be others by now."""
    for address in [each for each in infos if each.startswith(f"{folder.rstrip('/')}/")]:
        infos.pop(address, None)


def holds(address: str, local: Path) -> bool:
    """Whether a file at an address has the bytes of one here; all of them are read."""
    if not exists(address) or info(address).size != local.stat().st_size:
        return False
    with local.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256_of(address)


def sha256_of(address: str) -> str:
    """Return the SHA-256 of the file at an address, in hexadecimal; all of it is read."""
    there = hashlib.sha256()
    for start in range(0, info(address).size, _WRITTEN_BYTES):
        there.update(read(address, start, start + _WRITTEN_BYTES))
    return there.hexdigest()


def remove(address: str) -> None:
    """Remove a file, if it is there."""

    def now() -> None:
        try:
            file_system(address).rm_file(inside(address))
        except FileNotFoundError:
            return

    patiently(now, address, "remove")
    infos.pop(address, None)


def opened_whole(address: str) -> Any:
    """Return a file that gives its bytes from the first on, in one request. What fsspec raises is not turned into an error."""
    return file_system(address).open(inside(address), "rb", block_size=0)


def info_of(facts: dict[str, Any], address: str) -> Info:
    size = facts.get("size")
    if size is None:
        raise CodeparrotError(f"{without_credentials(address)}: the server does not say how long it is; fetch the file first")
    version = next((str(facts[name]) for name in _VERSIONS if facts.get(name)), "")
    # Azure puts the ETag of a file in quotes, and that of a listing not.
    return Info(int(size), version.strip('"') if address.startswith(("az://", "abfs")) else version)


def inside(address: str) -> str:
    """Return an address as the file system spells it."""
    return address if address.startswith(WEB) else file_system(address)._strip_protocol(address)


def now(call: Callable[..., Any], address: str, *more: Any) -> Any:
    """Return what a coroutine of the file system does."""
    system = file_system(address)
    if not system.async_impl:
        # The Hub's. No cache: it would fetch megabytes more than a request asks for.
        return system.cat_file(inside(address), start=more[0], end=more[1], cache_type="none")
    from fsspec.asyn import sync

    return sync(system.loop, call, system, address, *more, timeout=CALL_SECONDS)


async def get(system: Any, address: str, start: int, stop: int, known: Info) -> bytes:
    if address.startswith(WEB):
        return await _from_web(system, address, start, stop, known)
    if not address.startswith("s3://"):
        return await system._cat_file(inside(address), start=start, end=stop)
    bucket, key, version = system.split_path(address)
    more = {"VersionId": version} if version else {}
    condition = {"IfMatch": known.version} if known.version else {}
    asked = system._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}", **condition, **more)
    async with (await asked)["Body"] as body:
        return await body.read()


async def _from_web(system: Any, address: str, start: int, stop: int, known: Info) -> bytes:
    more = {**system.kwargs, "headers": {**system.kwargs.get("headers", {}), "Range": f"bytes={start}-{stop - 1}"}}
    session = await system.set_session()
    async with session.get(system.encode_url(address), **more) as answer:
        system._raise_not_found_for_status(answer, address)
        if answer.status == 200 and stop - start < known.size:
            raise Whole(address)  # without reading all of it
        return await answer.read()

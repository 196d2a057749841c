"""The files below a folder on other machines."""

from collections.abc import Iterator
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers import remote
from codeparrot.stream.readers.patience import WEB, patiently

PAGE_FILES = 1000
"""The most that S3 names in one answer."""


def files_below(address: str) -> dict[str, remote.Info]:
    """Return the files below a folder by their paths in it; "" stands for the file that the address itself is.

    Raises:
        CodeparrotError: it cannot be listed.
    """
    root = address.rstrip("/")
    return {relative: remote.infos.setdefault(remote.below(root, relative), known) for relative, known in walk(root)}


def walk(address: str) -> Iterator[tuple[str, remote.Info]]:
    """Yield the files below a folder by their paths in it; "" stands for the file that the address itself is.

    Of S3, a page of 1,000 names is held at a time, and a server that dies is asked for the next page again.

    Raises:
        CodeparrotError: it cannot be listed.
    """
    root = address.rstrip("/")
    if root.startswith(WEB):
        yield "", remote.info(address)
    elif root.startswith("s3://"):
        yield from _walk_pages(root)
    else:
        inside = remote.inside(root)
        for name, facts in patiently(lambda: _found(remote.file_system(root), inside), root).items():
            if not name.endswith("/") and facts.get("type") != "directory":
                yield name.removeprefix(inside).lstrip("/"), remote.info_of(facts, root)


def _walk_pages(root: str) -> Iterator[tuple[str, remote.Info]]:
    _, key, _ = remote.file_system(root).split_path(root)
    prefix, last, more = f"{key}/" if key else "", "", True
    while more:
        page = patiently(lambda after=last: remote.now(_page, root, prefix, after), root)
        before = last
        for facts in page.get("Contents", ()):
            if facts["Key"] <= last:
                why = f"its server does not name files in order, and {facts['Key']} twice or too late"
                raise CodeparrotError(f"{root} cannot be listed: {why}; fetch the folder first")
            last = facts["Key"]
            if not last.endswith("/"):
                yield last.removeprefix(prefix), remote.Info(facts["Size"], facts.get("ETag", ""))
        more = page.get("IsTruncated", False)
        if more and last == before:  # which would be asked for ever
            raise CodeparrotError(
                f"{root} cannot be listed: its server promises more names and gives none; fetch the folder first"
            )
    if key and not last and remote.exists(root):
        yield "", remote.info(root)


async def _page(system: Any, root: str, prefix: str, last: str) -> dict[str, Any]:
    # Not by the token of the page before: a server that was started again may not know it.
    after = {"StartAfter": last} if last else {}
    bucket = system.split_path(root)[0]
    return await system._call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=PAGE_FILES, **after)


def _found(system: Any, inside: str) -> dict[str, Any]:
    found = system.find(inside, detail=True)
    bucket = inside.partition("/")[0]
    # Azure's finds nothing in a container that does not exist, where the others raise.
    if not found and "abfs" in system.protocol and not system.exists(bucket):
        raise FileNotFoundError(bucket)
    return found

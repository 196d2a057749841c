"""Files by revision, LFS objects, and git over HTTP.

LFS objects are uploaded to and downloaded from signed addresses, as on the Hub, whose store asks for no token.
"""

import hashlib
import hmac
import os
import re
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

from tests.hub_server import lfs
from tests.hub_server.access import require_write
from tests.hub_server.api import open_repository
from tests.hub_server.errors import HubError, entry_not_found
from tests.hub_server.server import Answer, Request, Server, as_json
from tests.hub_server.store import ENVIRONMENT, Repository

NAME = r"(datasets/)?([^/]+/[^/]+?)"
RESOLVE = re.compile(f"/{NAME}/resolve/([^/]+)/(.+)")
BATCH = re.compile(rf"/{NAME}\.git/info/lfs/objects/batch")
GIT = re.compile(rf"/{NAME}(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)")
OBJECT = re.compile("/lfs/(models|datasets)/([^/]+/[^/]+)/([0-9a-f]{64})(/verify)?")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def _kind(prefix: str | None) -> str:
    return "datasets" if prefix else "models"


def resolve(server: Server, request: Request, found: re.Match[str]) -> Answer:
    repository = open_repository(server, _kind(found[1]), found[2], request.identity)
    commit = repository.resolve(urllib.parse.unquote(found[3]))
    entry = repository.entries(commit).get(urllib.parse.unquote(found[4]))
    if entry is None or entry.is_folder:
        raise entry_not_found()
    headers = {"X-Repo-Commit": commit, "ETag": f'"{entry.oid}"', "Accept-Ranges": "bytes"}
    if entry.pointer:
        headers |= {"ETag": f'"{entry.pointer.oid}"', "X-Linked-Etag": f'"{entry.pointer.oid}"'}
        headers["X-Linked-Size"] = str(entry.size)
    return _part(repository.read(entry), headers, request)


def _part(content: bytes, headers: dict[str, str], request: Request) -> Answer:
    headers = {"Content-Type": "application/octet-stream", **headers}
    wanted = RANGE.fullmatch(request.headers.get("Range", ""))
    if not wanted:
        return Answer(200, content, headers)
    first, last = wanted.groups()
    start = int(first) if first else max(0, len(content) - int(last))
    stop = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= stop:
        headers["Content-Range"] = f"bytes */{len(content)}"
        return Answer(416, b"", headers)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Answer(206, content[start:stop], headers)


def batch(server: Server, request: Request, found: re.Match[str]) -> Answer:
    kind, name = _kind(found[1]), found[2]
    repository = open_repository(server, kind, name, request.identity)
    body = request.json()
    uploading = body["operation"] == "upload"
    if uploading:
        require_write(request.identity)
    objects = [_actions(server, repository, kind, name, each, uploading=uploading) for each in body["objects"]]
    answer = as_json({"transfer": "basic", "objects": objects})
    answer.headers["Content-Type"] = "application/vnd.git-lfs+json"
    return answer


def _actions(
    server: Server, repository: Repository, kind: str, name: str, wanted: dict[str, Any], *, uploading: bool
) -> dict[str, Any]:
    oid, size = wanted["oid"], wanted["size"]
    if not lfs.OID.fullmatch(oid):
        raise HubError(422, f"{oid} is no object")
    there = repository.objects.size(oid)
    path = f"/lfs/{kind}/{name}/{oid}"
    if uploading:
        if there is not None:
            return {"oid": oid, "size": size}  # nothing to do
        verify = {"href": f"{server.url}{path}/verify{_signature(server, path)}"}
        actions = {"upload": {"href": f"{server.url}{path}{_signature(server, path)}"}, "verify": verify}
        return {"oid": oid, "size": size, "authenticated": True, "actions": actions}
    if there is None:
        return {"oid": oid, "size": size, "error": {"code": 404, "message": "Object does not exist"}}
    download = {"href": f"{server.url}{path}{_signature(server, path)}"}
    return {"oid": oid, "size": there, "authenticated": True, "actions": {"download": download}}


def _signature(server: Server, path: str) -> str:
    """Valid as long as the store exists: an upload may continue after a restart of the server."""
    secret = server.store.folder / "secret"
    if not secret.exists():
        part = Path(f"{secret}.{os.urandom(4).hex()}")
        part.write_bytes(os.urandom(32))
        part.replace(secret)
    return f"?signature={hmac.new(secret.read_bytes(), path.encode(), hashlib.sha256).hexdigest()}"


def transfer(server: Server, request: Request, found: re.Match[str]) -> Answer:
    kind, name, oid, verify = found.groups()
    path = request.path.removesuffix("/verify")
    if not hmac.compare_digest(f"?signature={request.query.get('signature', '')}", _signature(server, path)):
        raise HubError(403, "the signature is wrong")
    repository = server.store.repository(kind, name)
    if request.method == "PUT":
        repository.objects.write(oid, request.chunks())
        return Answer()
    there = repository.objects.size(oid)
    if verify and there != request.json()["size"]:
        raise HubError(404 if there is None else 422, f"object {oid} has not been uploaded")
    if there is None:
        raise entry_not_found()
    return Answer() if verify else _part(repository.objects.path(oid).read_bytes(), {}, request)


def git(server: Server, request: Request, found: re.Match[str]) -> Answer:
    repository = open_repository(server, _kind(found[1]), found[2], request.identity)
    service = request.query.get("service", found[3])
    if service == "git-receive-pack":
        if request.identity is None:
            raise HubError(401, "who is it that pushes?")
        require_write(request.identity)
    body = request.body()
    environment = {
        **ENVIRONMENT,
        "GIT_PROJECT_ROOT": str(repository.path),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{found[3]}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": urllib.parse.urlencode(request.query),
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "REMOTE_USER": request.identity.name if request.identity else "",
    }
    output = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, check=True, env=environment).stdout
    head, _, content = output.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    return Answer(int(headers.pop("Status", "200").split()[0]), content, headers)


ROUTES = {RESOLVE: resolve, BATCH: batch, OBJECT: transfer, GIT: git}


def answer(server: Server, request: Request) -> Answer | None:
    """Return the answer, or None if `request` is for something else."""
    for pattern, endpoint in ROUTES.items():
        if found := pattern.fullmatch(request.path):
            return endpoint(server, request, found)
    return None

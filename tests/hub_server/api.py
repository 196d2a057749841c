"""The endpoints below /api: accounts, repositories and their contents."""

import base64
import datetime
import re
import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.hub_server import commits, lfs
from tests.hub_server.access import Identity, require_write
from tests.hub_server.errors import HubError, entry_not_found, repository_not_found
from tests.hub_server.server import Answer, Request, Server, as_json
from tests.hub_server.store import MAIN, Commit, Entry, Repository

REPOSITORY = re.compile("/api/(models|datasets)/([^/]+/[^/]+)((?:/[^/]*)*)")


def web_url(server: Server, kind: str, name: str) -> str:
    return f"{server.url}/{name}" if kind == "models" else f"{server.url}/{kind}/{name}"


def open_repository(server: Server, kind: str, name: str, identity: Identity | None) -> Repository:
    """Raises HubError if it does not exist, or if it is private and the client a stranger."""
    try:
        repository = server.store.repository(kind, name)
        private = repository.facts["private"]
    except HubError:
        if identity is None:
            raise repository_not_found(401) from None
        raise
    if private and identity is None:
        raise repository_not_found(401)
    return repository


def whoami(server: Server, request: Request) -> Answer:
    if request.identity is None:
        raise HubError(401, "Invalid username or password.")
    role = "write" if request.identity.may_write else "read"
    token = {"type": "access_token", "accessToken": {"displayName": "tests", "role": role}}
    return as_json({"type": "user", "id": "1", "name": request.identity.name, "orgs": [], "auth": token})


def validate_yaml(server: Server, request: Request) -> Answer:
    return as_json({"errors": [], "warnings": []})


def _named(request: Request, author: str) -> tuple[dict[str, Any], str, str]:
    body = request.json()
    return body, f"{body.get('type') or 'model'}s", f"{body.get('organization') or author}/{body['name']}"


def create_repository(server: Server, request: Request) -> Answer:
    author = require_write(request.identity).name
    body, kind, name = _named(request, author)
    if kind not in ("models", "datasets"):
        raise HubError(400, f"this Hub has no {kind}")
    url = web_url(server, kind, name)
    private = body.get("visibility") == "private"
    try:
        server.store.create(kind, name, private=private, author=author)
    except FileExistsError as error:
        raise HubError(409, f"You already created this {kind[:-1]} repo", url=url) from error
    return as_json({"url": url, "name": name, "private": private})


def delete_repository(server: Server, request: Request) -> Answer:
    _, kind, name = _named(request, require_write(request.identity).name)
    server.store.delete(kind, name)
    return as_json({})


class Call(NamedTuple):
    """A request to one repository; `rest` is what follows its name in the path, unquoted: [what, revision, ...]."""

    server: Server
    request: Request
    repository: Repository
    kind: str
    name: str
    rest: list[str]

    @property
    def author(self) -> str:
        return require_write(self.request.identity).name

    @property
    def argument(self) -> str:
        """The branch, revision or number in the path."""
        if len(self.rest) < 2:
            raise entry_not_found()
        return self.rest[1]

    def pull_request_url(self, number: int) -> str:
        return f"{web_url(self.server, self.kind, self.name)}/discussions/{number}"


def info(call: Call) -> Answer:
    commit = call.repository.resolve(call.argument if len(call.rest) > 1 else MAIN)
    latest = call.repository.log(commit, limit=1)[0]
    facts = call.repository.facts
    files = [entry for entry in call.repository.entries(commit).values() if not entry.is_folder]
    siblings = [_sibling(entry) if "blobs" in call.request.query else {"rfilename": entry.path} for entry in files]
    found = {"_id": call.name, "id": call.name, "author": call.name.partition("/")[0], "sha": commit, "siblings": siblings}
    found |= {"lastModified": _date(latest.time), "createdAt": _date(facts["created"]), "private": facts["private"]}
    return as_json({**found, "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0})


def refs(call: Call) -> Answer:
    found: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    for prefix, key in {"refs/heads/": "branches", "refs/tags/": "tags", "refs/pr/": "pullRequests"}.items():
        for ref, commit in call.repository.refs().items():
            if ref.startswith(prefix):
                found[key].append({"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit})
    return as_json(found)


def tree(call: Call) -> Answer:
    commit = call.repository.resolve(call.argument)
    entries = call.repository.entries(commit)
    folder = "/".join(call.rest[2:])
    if folder and not (folder in entries and entries[folder].is_folder):
        raise entry_not_found(f"{folder} does not exist on {call.argument}")
    inside = [entry for path, entry in entries.items() if path.startswith(f"{folder}/" if folder else "")]
    if not _is_true(call.request.query.get("recursive")):
        inside = [entry for entry in inside if entry.path.rpartition("/")[0] == folder]
    return as_json([_entry(call, entry, commit, _is_true(call.request.query.get("expand"))) for entry in inside])


def paths_info(call: Call) -> Answer:
    commit = call.repository.resolve(call.argument)
    form = urllib.parse.parse_qs(call.request.body().decode())
    entries = call.repository.entries(commit)
    found = [entries[path.rstrip("/")] for path in form.get("paths", []) if path.rstrip("/") in entries]
    return as_json([_entry(call, entry, commit, _is_true(form.get("expand", [""])[0])) for entry in found])


def list_commits(call: Call) -> Answer:
    return as_json([_commit(commit) for commit in call.repository.log(call.argument)])


def preupload(call: Call) -> Answer:
    require_write(call.request.identity)
    entries = call.repository.entries(call.repository.resolve(call.argument))
    attributes = entries.get(commits.GITATTRIBUTES)
    patterns = call.repository.read(attributes) if attributes else b""
    found = []
    for file in call.request.json()["files"]:
        as_lfs = lfs.must_be_lfs(file["path"], file["size"], base64.b64decode(file["sample"]), patterns)
        there = entries.get(file["path"])
        oid = None if there is None or there.is_folder else there.pointer.oid if there.pointer else there.oid
        mode = "lfs" if as_lfs else "regular"
        found.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return as_json({"files": found})


def commit(call: Call) -> Answer:
    author = call.author
    payload = commits.Payload(call.request.body())
    with call.repository.lock:
        if _is_true(call.request.query.get("create_pr")):
            number = commits.open_pull_request(call.repository, payload, author)
            oid = call.repository.resolve(f"refs/pr/{number}")
            pull_request = {"pullRequestUrl": call.pull_request_url(number)}
        else:
            ref = _writable(call)
            oid = commits.write(call.repository, ref, call.repository.resolve(ref), payload, author)
            pull_request = {}
    url = f"{web_url(call.server, call.kind, call.name)}/commit/{oid}"
    return as_json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": "", **pull_request})


def _writable(call: Call) -> str:
    revision = call.argument
    ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
    if ref not in call.repository.refs():
        call.repository.resolve(revision)  # raises if it does not exist at all
        raise HubError(400, f"{revision} is neither a branch nor a pull request: nothing can be committed to it")
    return ref


def create_branch(call: Call) -> Answer:
    require_write(call.request.identity)
    start = call.repository.resolve(call.request.json().get("startingPoint", MAIN))
    call.repository.point(f"refs/heads/{call.argument}", start, new=True)
    return as_json({}, 201)


def delete_branch(call: Call) -> Answer:
    require_write(call.request.identity)
    if call.argument == MAIN:
        raise HubError(403, f"{MAIN} cannot be deleted")
    call.repository.resolve(f"refs/heads/{call.argument}")
    call.repository.remove(f"refs/heads/{call.argument}")
    return as_json({})


def create_tag(call: Call) -> Answer:
    require_write(call.request.identity)
    start = call.repository.resolve(call.argument)
    call.repository.point(f"refs/tags/{call.request.json()['tag']}", start, new=True)
    return as_json({}, 201)


def delete_tag(call: Call) -> Answer:
    require_write(call.request.identity)
    call.repository.resolve(f"refs/tags/{call.argument}")
    call.repository.remove(f"refs/tags/{call.argument}")
    return as_json({})


def discussions(call: Call) -> Answer:
    found = [_discussion(call, each) for each in call.repository.facts["discussions"]]
    if len(call.rest) > 1:
        found = [each for each in found if str(each["num"]) == call.rest[1]]
        return as_json({**found[0], "events": [], "filesWithConflicts": []}) if found else _no_discussion()
    return as_json({"discussions": found, "count": len(found), "start": 0})


def _no_discussion() -> Answer:
    raise entry_not_found("there is no such discussion")


def merge(call: Call) -> Answer:
    if call.rest[2:] != ["merge"] or not call.argument.isdigit():
        raise entry_not_found()
    with call.repository.lock:
        commits.merge_pull_request(call.repository, int(call.argument), call.author)
    return as_json({})


def _is_true(value: str | None) -> bool:
    return value in ("1", "true", "True")


def _date(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _pointer(pointer: lfs.Pointer) -> dict[str, Any]:
    return {"oid": pointer.oid, "sha256": pointer.oid, "size": pointer.size, "pointerSize": len(pointer.encode())}


def _sibling(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": entry.path, "size": entry.size, "blobId": entry.oid}
    return {**found, "lfs": _pointer(entry.pointer)} if entry.pointer else found


def _entry(call: Call, entry: Entry, commit: str, expand: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "directory" if entry.is_folder else "file", "oid": entry.oid, "size": entry.size}
    found["path"] = entry.path
    if entry.pointer:
        found["lfs"] = _pointer(entry.pointer)
    if expand:
        last = call.repository.log(commit, path=entry.path, limit=1)[0]
        found["lastCommit"] = {"id": last.oid, "title": last.title, "date": _date(last.time)}
    return found


def _commit(commit: Commit) -> dict[str, Any]:
    authors = [{"user": commit.author}]
    return {"id": commit.oid, "title": commit.title, "message": commit.message, "authors": authors, "date": _date(commit.time)}


def _discussion(call: Call, facts: dict[str, Any]) -> dict[str, Any]:
    found = {"num": facts["num"], "title": facts["title"], "author": {"name": facts["author"]}, "status": facts["status"]}
    found |= {"createdAt": _date(call.repository.facts["created"]), "isPullRequest": True}
    changes = {"base": f"refs/heads/{MAIN}", "mergeCommitId": facts.get("merge")}
    return {**found, "repo": {"name": call.name, "type": call.kind[:-1]}, "changes": changes}


GENERAL: dict[tuple[str, str], Callable[[Server, Request], Answer]] = {
    ("GET", "/api/whoami-v2"): whoami,
    ("POST", "/api/validate-yaml"): validate_yaml,
    ("POST", "/api/repos/create"): create_repository,
    ("DELETE", "/api/repos/delete"): delete_repository,
}
OF_A_REPOSITORY: dict[tuple[str, str], Callable[[Call], Answer]] = {
    ("GET", ""): info,
    ("GET", "revision"): info,
    ("GET", "refs"): refs,
    ("GET", "tree"): tree,
    ("GET", "commits"): list_commits,
    ("POST", "paths-info"): paths_info,
    ("POST", "preupload"): preupload,
    ("POST", "commit"): commit,
    ("POST", "branch"): create_branch,
    ("DELETE", "branch"): delete_branch,
    ("POST", "tag"): create_tag,
    ("DELETE", "tag"): delete_tag,
    ("GET", "discussions"): discussions,
    ("POST", "discussions"): merge,
}


def answer(server: Server, request: Request) -> Answer:
    if general := GENERAL.get((request.method, request.path)):
        return general(server, request)
    if found := REPOSITORY.fullmatch(request.path):
        kind, name = found[1], urllib.parse.unquote(found[2])
        rest = [urllib.parse.unquote(part) for part in found[3].split("/")[1:]]
        if endpoint := OF_A_REPOSITORY.get((request.method, rest[0] if rest else "")):
            repository = open_repository(server, kind, name, request.identity)
            return endpoint(Call(server, request, repository, kind, name, rest))
    raise HubError(404, f"this Hub has no {request.method} {request.path}")

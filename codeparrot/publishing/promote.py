"""`codeparrot hub promote`: one commit makes `main` hold what a run's branch, or one commit of it, holds.

The Hub copies the files: weights are not sent again (only small files outside LFS travel). The commit names the head of main
that it was made on; if main has moved since, the Hub refuses it and nothing has changed.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.location import Branch, path_of
from codeparrot.publishing.ledger import Ledger
from codeparrot.result import Result

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"
_ATTRIBUTES = ".gitattributes"
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


class _Commit(NamedTuple):
    oid: str
    title: str


def promote(run: str = "", repo: str = "", branch: str = "", commit: str = "") -> Result:
    """Copy a run's branch on the Hub to main, in one commit and without a new upload.

    Args:
        run: Run folder, whose hub.json names repository and branch.
        repo: owner/name, instead of --run.
        branch: Branch to promote, instead of the run's.
        commit: One commit of the branch (7 to 40 hexadecimal digits); default: its newest.
    """
    from huggingface_hub import CommitOperationCopy, CommitOperationDelete

    from codeparrot.hub import client

    source = target_of(run, repo, branch)
    if source.branch == MAIN:
        raise CodeparrotError("main cannot be promoted to itself: name another --branch")
    if commit and not _COMMIT.fullmatch(commit):
        raise CodeparrotError(f'--commit "{commit}" is not a commit: give 7 to 40 of its hexadecimal digits')
    api = client.connect()
    with client.readable(f"cannot promote {source}"):
        chosen = _choose(api, source, commit)
        head = api.list_repo_commits(source.repo, revision=MAIN)[0].commit_id
        wanted, present = _tree(api, source.repo, chosen.oid), _tree(api, source.repo, MAIN)
        operations = [
            *(CommitOperationCopy(name, name, src_revision=chosen.oid) for name in wanted if present.get(name) != wanted[name]),
            *(CommitOperationDelete(name, is_folder=False) for name in present if name not in wanted and name != _ATTRIBUTES),
        ]
        facts = {"repo": source.repo, "branch": source.branch, "commit": chosen.oid, "title": chosen.title}
        if not operations:
            return Result(f"main of {source.repo} is {source} already ({chosen.title})", facts | {"main": head, "changed": 0})
        promoted = _commit(api, source, chosen, operations, head)
    text = f"main of {source.repo} is now {chosen.oid[:12]} of {source.branch} ({chosen.title}): commit {promoted[:12]}"
    return Result(text, facts | {"main": promoted, "changed": len(operations)})


def target_of(run: str, repo: str, branch: str) -> Branch:
    """Return the branch that a run, or a repository and branch, names.

    Raises:
        CodeparrotError: neither is given.
    """
    if not run and not (repo and branch):
        raise CodeparrotError("name a --run, or --repo and --branch")
    known = Ledger(path_of(run)).branch if run and not (repo and branch) else Branch(repo, branch)
    return Branch(repo or known.repo, branch or known.branch)


def _choose(api: "HfApi", source: Branch, commit: str) -> _Commit:
    for each in api.list_repo_commits(source.repo, revision=source.branch):
        if each.commit_id.startswith(commit):
            return _Commit(each.commit_id, each.title)
    raise CodeparrotError(f"{source} has no commit {commit}: `codeparrot hub status` lists those that were pushed")


def _tree(api: "HfApi", repo: str, revision: str) -> dict[str, str]:
    """Map the path of every file to its content (the ID of a git object)."""
    from huggingface_hub.hf_api import RepoFile

    files = api.list_repo_tree(repo, recursive=True, revision=revision)
    return {file.path: file.blob_id for file in files if isinstance(file, RepoFile)}


def _commit(api: "HfApi", source: Branch, chosen: _Commit, operations: list, head: str) -> str:
    from codeparrot.hub import client

    try:
        return api.create_commit(
            source.repo,
            operations,
            commit_message=f"Promote {source.branch}: {chosen.title}",
            commit_description=f"promoted from {source.branch}, commit {chosen.oid}",
            revision=MAIN,
            parent_commit=head,
        ).oid
    except client.FAILURES as error:
        if client.moved(error):
            raise CodeparrotError(
                f"main of {source.repo} has moved on from {head[:12]} and was not changed; look at it, then promote again"
            ) from error
        raise

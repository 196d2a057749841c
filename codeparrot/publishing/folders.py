"""`codeparrot tokenizer push` and `codeparrot corpus push`: a folder becomes a repository that loads by its name.

One commit holds all of it. The next try does not repeat uploads that finished before an error or Ctrl-C; an unchanged folder
makes no commit. If the branch holds a file that is neither a card nor one that such a push writes, the push is refused: it must
not delete it.
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from codeparrot.corpus.output import STATISTICS
from codeparrot.corpus.report.reading import check_shards, read_statistics
from codeparrot.errors import CodeparrotError
from codeparrot.location import is_hub_name, path_of
from codeparrot.result import Result, say

_BESIDE = ("README.md", ".gitattributes")
"""What any branch may hold."""
_OF_A_MODEL = ("config.json", "generation_config.json", "*.index.json")
"""JSON files that are never part of a tokenizer."""
_NAMED = 3


def push_tokenizer(tokenizer: str, repo: str, branch: str = "main", private: bool = True) -> Result:
    """Push a tokenizer to the Hub, with a card. Name it as owner/name[@branch] wherever a tokenizer is named.

    Args:
        tokenizer: Folder of a tokenizer, from codeparrot tokenizer train.
        repo: owner/name of a model repository, created if it does not exist.
        branch: Branch, created if it does not exist.
        private: Whether a new repository is private.
    """
    from codeparrot.hub.fetch import TOKENIZER_FILES

    folder = path_of(tokenizer)
    if not (folder / "tokenizer.json").is_file():
        raise CodeparrotError(f"{tokenizer} holds no tokenizer.json; codeparrot tokenizer train writes one")
    card = _tokenizer_card(folder, repo, branch)
    return _push(folder, repo, branch, private, "model", TOKENIZER_FILES, "Tokenizer", {"README.md": card})


def push_corpus(corpus: str, repo: str, branch: str = "main", private: bool = True) -> Result:
    """Push a corpus to the Hub: shards, splits and card with its pictures; no samples of removed files.

    Name it as owner/name[@branch] wherever a corpus is named.

    Args:
        corpus: Folder that codeparrot corpus build wrote; its shards are checked first.
        repo: owner/name of a data set, created if it does not exist.
        branch: Branch, created if it does not exist.
        private: Whether a new repository is private.
    """
    folder = path_of(corpus)
    check_shards(folder, read_statistics(folder))
    return _push(folder, repo, branch, private, "dataset", ("*.parquet", "*.png", STATISTICS, "README.md"), "Corpus", {})


def _push(
    folder: Path, repo: str, branch: str, private: bool, kind: str, patterns: tuple[str, ...], title: str, texts: dict[str, str]
) -> Result:
    """Upload the files of a folder, and `texts` beside them. Other files of an earlier push are deleted from the branch.

    Raises:
        CodeparrotError: the branch holds files that no such push wrote, or the Hub does not answer, or refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    from codeparrot.hub import client

    if not is_hub_name(repo) or "/" not in repo:
        raise CodeparrotError(f'--repo "{repo}" is not a repository: write owner/name')
    api: Any = client.connect()
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.name not in texts})
    with client.readable(f"cannot push {folder} to {repo}"):
        api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        if branch != "main":
            first = api.list_repo_commits(repo, repo_type=kind)[-1].commit_id
            api.create_branch(repo, branch=branch, repo_type=kind, revision=first, exist_ok=True)
        head = api.list_repo_commits(repo, repo_type=kind, revision=branch)[0].commit_id
        names = {path.name for path in files} | set(texts)
        present = api.list_repo_files(repo, repo_type=kind, revision=branch)
        foreign = [name for name in present if name not in names and _is_foreign(name, patterns)]
        if foreign:
            more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
            held = f"{', '.join(foreign[:_NAMED])}{more}, which this command did not put there"
            raise CodeparrotError(f"{repo}@{branch} holds {held} and would have to delete; name another --repo or --branch")
        stale = [name for name in present if name not in names and name != ".gitattributes"]
        num_bytes = sum(path.stat().st_size for path in files)
        say(f"pushing {folder} to {repo}@{branch}: {num_bytes:,} bytes; what is there already is not sent again")
        commit = api.create_commit(
            repo,
            [
                *(CommitOperationAdd(path.name, path) for path in files),
                *(CommitOperationAdd(name, text.encode()) for name, text in texts.items()),
                *(CommitOperationDelete(name, is_folder=False) for name in stale),
            ],
            commit_message=f"{title} {folder.resolve().name}",
            repo_type=kind,
            revision=branch,
            parent_commit=head,
        ).oid
    facts = {
        "repo": repo,
        "branch": branch,
        "commit": commit,
        "files": len(names),
        "bytes": num_bytes,
        "changed": commit != head,
    }
    done = "pushed to" if commit != head else "is already on"
    return Result(f"{folder} {done} {repo}@{branch}: {len(names)} files, {num_bytes:,} bytes, commit {commit[:12]}", facts)


def _is_foreign(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether no push of these patterns writes such a file. A push writes no subfolders."""
    ours = "/" not in name and any(fnmatchcase(name, pattern) for pattern in patterns)
    return name not in _BESIDE and (not ours or any(fnmatchcase(name, pattern) for pattern in _OF_A_MODEL))


def _tokenizer_card(folder: Path, repo: str, branch: str) -> str:
    from huggingface_hub import ModelCardData
    from tokenizers import Tokenizer

    size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    data = ModelCardData(library_name="transformers", language="code", tags=["codeparrot", "tokenizer"])
    revision = "" if branch == "main" else f', revision="{branch}"'
    lines = [
        "---",
        data.to_yaml(),
        "---",
        "",
        f"# {repo.split('/')[-1]}",
        "",
        f"A tokenizer for code, trained by codeparrot: {size:,} tokens.",
        "",
        "```python",
        "from transformers import AutoTokenizer",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("{repo}"{revision})',
        "```",
        "",
    ]
    return "\n".join(lines)

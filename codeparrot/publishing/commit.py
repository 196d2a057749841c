"""One checkpoint becomes one commit of the run's branch, exactly once.

A commit's last line says which checkpoint it holds. Before committing a checkpoint we ask the branch whether it has it, so
neither a lost answer nor a killed process leads to a second commit. The commit names the head it was made on, so the Hub
refuses it if somebody else's came first. A commit holds the run as of its step: later lines of metrics.jsonl are left out, and
the card and the picture are made from the others.

    /             config.json, model.safetensors, tokenizer: from_pretrained(repo, revision=branch)
    README.md     model card
    config.yaml  metrics.jsonl  plots/loss.png
    checkpoint/   with hub.state: state/, stream.json, manifest.json
"""

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils.sha import git_hash
from safetensors import safe_open

from codeparrot import plot
from codeparrot.errors import CodeparrotError
from codeparrot.hub.fetch import STATE
from codeparrot.location import Branch
from codeparrot.publishing.card import PLOT, SAMPLE, VALIDATION, measured, model_card
from codeparrot.publishing.ledger import Entry
from codeparrot.run import checkpoint
from codeparrot.run.metrics import read_lines
from codeparrot.run.reports import reports_of

MARK = "codeparrot-checkpoint:"
CARD = "README.md"


class Conflict(CodeparrotError):
    """The branch belongs to another run."""


class Damaged(CodeparrotError):
    """A checkpoint has changed since it was written."""


@dataclass
class History:
    """What is on a branch."""

    head: str
    commits: dict[str, str] = field(default_factory=dict)
    """Digest of a checkpoint to the commit that holds it."""


def prepare(api: HfApi, target: Branch, private: bool) -> None:
    """Make the repository and the branch if they do not exist. A new branch begins empty, whatever is on main."""
    try:
        api.list_repo_commits(target.repo, revision=target.branch)
        return
    except RevisionNotFoundError:
        pass
    except RepositoryNotFoundError:
        api.create_repo(target.repo, private=private, exist_ok=True)
    if target.branch != "main":
        first = api.list_repo_commits(target.repo)[-1].commit_id
        api.create_branch(target.repo, branch=target.branch, revision=first, exist_ok=True)


def history(api: HfApi, target: Branch, ours: set[str]) -> History:
    """Return what is on the branch.

    Args:
        ours: digests of the checkpoints that this run has or has pushed.

    Raises:
        Conflict: it holds checkpoints, but none of this run.
    """
    commits = api.list_repo_commits(target.repo, revision=target.branch)
    found = History(commits[0].commit_id)
    for commit in reversed(commits):
        for line in commit.message.splitlines():
            if line.startswith(MARK):
                found.commits[line.split()[-1]] = commit.commit_id
    if found.commits and not ours & set(found.commits):
        remedy = f"set another hub.branch, or go on with that run by --resume hub:{target}"
        raise Conflict(f"{target} holds the checkpoints of another run; {remedy}")
    return found


def push(api: HfApi, run: Path, entry: Entry, target: Branch, state: bool, parent: str) -> str:
    """Commit a checkpoint on top of `parent`; return the commit.

    Raises:
        Damaged: its files do not match its manifest.
    """
    place = run / "checkpoints" / entry.name
    fault = checkpoint.fault(place)
    if fault:
        raise Damaged(f"{place} is damaged: {fault}")
    manifest = checkpoint.read_manifest(place)
    with _as_of(run, manifest, target) as (beside, metrics):
        files = dict(_files(place, manifest, state)) | beside
        stale = [name for name in api.list_repo_files(target.repo, revision=target.branch) if _is_stale(name, files)]
        additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
        deletions = [CommitOperationDelete(path_in_repo=name, is_folder=False) for name in stale]
        return api.create_commit(
            target.repo,
            [*additions, *deletions],
            commit_message=_title(entry, metrics),
            commit_description=f"{MARK} {entry.name} {entry.digest}",
            revision=target.branch,
            parent_commit=parent,
        ).oid


def renew_card(api: HfApi, run: Path, entry: Entry, target: Branch, parent: str) -> str | None:
    """Commit the card of the branch's newest checkpoint alone, if it has changed; return the commit.

    This way, results measured after a push (`codeparrot eval humaneval`) reach the branch.
    """
    place = run / "checkpoints" / entry.name
    with _as_of(run, checkpoint.read_manifest(place), target) as (beside, _):
        card = beside[CARD]
        there = api.get_paths_info(target.repo, [CARD], revision=target.branch)
        if [getattr(each, "blob_id", None) for each in there] == [git_hash(card.read_bytes())]:
            return None
        return api.create_commit(
            target.repo,
            [CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=card)],
            commit_message=f"step {entry.step}: card with what was measured since",
            revision=target.branch,
            parent_commit=parent,
        ).oid


def _files(place: Path, manifest: dict[str, Any], state: bool) -> Iterator[tuple[str, Path]]:
    """Yield pairs: the path on the branch and the path here."""
    for name in manifest["files"]:
        if name.startswith("model/"):
            yield name.removeprefix("model/"), place / name
            continue
        if name.startswith(f"{checkpoint.AVERAGE}/"):
            yield name, place / name
        elif state:
            yield f"{STATE}{name}", place / name
    if state:
        yield f"{STATE}{checkpoint.MANIFEST}", place / checkpoint.MANIFEST


def _is_stale(name: str, files: dict[str, Path]) -> bool:
    """Whether a file on the branch belongs to an earlier checkpoint and not to this one."""
    ours = name.startswith((STATE, f"{checkpoint.AVERAGE}/")) or name == PLOT or ("/" not in name and ".safetensors" in name)
    return ours and name not in files


@contextmanager
def _as_of(run: Path, manifest: dict[str, Any], target: Branch) -> Iterator[tuple[dict[str, Path], list[dict[str, Any]]]]:
    """Yield the files that go beside the model, as of its step, and the lines of metrics.jsonl up to it."""
    with tempfile.TemporaryDirectory(prefix="codeparrot-push-") as scratch:
        folder = Path(scratch) / manifest["config"]["run"]["name"]  # the picture is labelled with the name
        folder.mkdir()
        log = run / "metrics.jsonl"
        rows = read_lines(log) if log.is_file() else []
        metrics = [row for row in rows if row["step"] <= manifest["step"] and row.get("tokens") is not None]
        names = ["config.yaml", "metrics.jsonl", CARD]
        (folder / "config.yaml").write_text(yaml.safe_dump(manifest["config"], sort_keys=False), encoding="utf-8")
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics), encoding="utf-8")
        if any(math.isfinite(row.get("loss") or math.nan) for row in metrics):
            plot.draw([folder], folder / PLOT)
            names.append(PLOT)
        parameters = _parameters(run / "checkpoints" / checkpoint.name_of(manifest["step"]) / "model")
        card = model_card(manifest, metrics, _reports(run, manifest["step"]), target, parameters, PLOT in names)
        (folder / CARD).write_text(card, encoding="utf-8")
        yield {name: folder / name for name in names}, metrics


def _reports(run: Path, step: int) -> dict[int, list[dict[str, Any]]]:
    """Return the reports of unit tests of this run's checkpoints up to a step, by step."""
    found: dict[int, list[dict[str, Any]]] = {}
    for of, report in reports_of(run):
        if of <= step:
            found.setdefault(of, []).append(report)
    return found


def _parameters(model: Path) -> int:
    count = 0
    for path in model.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no dictionary
    return count


def _title(entry: Entry, metrics: list[dict[str, Any]]) -> str:
    found = measured([row for row in metrics if row["step"] == entry.step])
    loss = found.get((VALIDATION, "eval_loss"), found.get((SAMPLE, "eval_loss")))
    return f"step {entry.step}: {entry.tokens:,} tokens" + ("" if loss is None else f", eval loss {loss:.4f}")

"""Reading from the Hub: a model, a tokenizer or a corpus as a local folder, and a run's state to go on from.

Only data is downloaded, never code: safetensors, JSON, Parquet and tokenizer files, of the commit that the revision names at
that moment. Downloads stay in the Hub's cache, which also serves when the Hub cannot be reached.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

from codeparrot.errors import CodeparrotError
from codeparrot.hub.client import FAILURES, connect, readable, unreachable
from codeparrot.location import HUB, split_hub_name
from codeparrot.result import say
from codeparrot.run import checkpoint

TOKENIZER_FILES = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")
MODEL_FILES = (*TOKENIZER_FILES, "*.safetensors")
CORPUS_FILES = ("*.parquet", "*.json", "*.jsonl", "*.jsonl.gz", "*.jsonl.zst", "README.md")
STATE = "checkpoint/"
"""Folder of a branch with the parts of a checkpoint that do not belong to its model."""

logger = logging.getLogger("codeparrot")


def model(name: str) -> Path:
    """Return the folder of a model on the Hub, `owner/name[@revision]`, with its tokenizer.

    Raises:
        CodeparrotError: it does not exist, or the Hub cannot be reached and it was never fetched.
    """
    return _snapshot(name, "model", "model", MODEL_FILES)


def tokenizer(name: str) -> Path:
    """Return the folder of a tokenizer on the Hub; see `model`."""
    return _snapshot(name, "tokenizer", "model", TOKENIZER_FILES)


def corpus(name: str) -> Path:
    """Return the folder of a data set on the Hub; see `model`."""
    return _snapshot(name, "data set", "dataset", CORPUS_FILES)


def _snapshot(name: str, what: str, kind: str, patterns: tuple[str, ...]) -> Path:
    repo, revision = split_hub_name(name)
    # Files in subfolders of a branch do not belong to its model.
    others = ["*/*"] if kind == "model" else []
    options: Any = {"repo_type": kind, "allow_patterns": list(patterns), "ignore_patterns": others}
    say(f'asking the Hub for the {what} "{name}"' + ("" if name.startswith(HUB) else ": there is no such folder here"))
    with readable(f'cannot read the {what} "{name}" from the Hub'):
        api = connect()
        try:
            api.repo_info(repo, revision=revision, repo_type=kind)  # fails at once, where a download would retry for long
            return Path(api.snapshot_download(repo, revision=revision, **options))
        except FAILURES as error:
            if not unreachable(error):
                raise
            try:
                folder = Path(api.snapshot_download(repo, revision=revision, local_files_only=True, **options))
            except LocalEntryNotFoundError:
                raise error from None
            logger.warning("the Hub cannot be reached: using an earlier download of %s (%s)", name, folder.name)
            return folder


def pushed_settings(name: str) -> dict[str, Any]:
    """Return the configuration of the run that pushed the checkpoint which `resumable` fetches.

    Raises:
        CodeparrotError: there is none, or it cannot be reached.
    """
    repo, revision = split_hub_name(name)
    with readable(f"cannot resume from {name}"):
        manifest = connect().hf_hub_download(repo, f"{STATE}{checkpoint.MANIFEST}", revision=revision)
    return checkpoint.read_manifest(Path(manifest).parent)["config"]


def resumable(name: str, checkpoints: Path, counted: Callable[[int], object] = lambda _: None) -> Path:
    """Fetch the checkpoint that a run pushed with its state; return its complete folder in `checkpoints`.

    An interrupted download goes on where it stopped. The run's metrics.jsonl is fetched too, if this run has none.

    Args:
        name: owner/name[@revision].
        checkpoints: folder of the run.
        counted: called with the bytes that have come, from several threads; what it raises ends the download.

    Raises:
        CodeparrotError: there is none, it cannot be reached, or the download differs from what was pushed.
    """
    repo, revision = split_hub_name(name)
    folder = checkpoints / ".fetched"
    with readable(f"cannot resume from {name}"):
        api = connect()
        commit = api.repo_info(repo, revision=revision).sha
        try:
            api.hf_hub_download(repo, f"{STATE}{checkpoint.MANIFEST}", revision=commit, local_dir=folder)
        except RemoteEntryNotFoundError:
            remedy = "it was pushed without hub.state; name a branch that was pushed with it, or begin with model.from"
            raise CodeparrotError(f"cannot resume from {name}: it holds a model and no state; {remedy}") from None
        names = _files(folder / STATE / checkpoint.MANIFEST, name)
        wanted = [_place(each) for each in names] + ["metrics.jsonl"]
        api.snapshot_download(repo, revision=commit, allow_patterns=wanted, local_dir=folder, tqdm_class=_bar(counted))
    return _install(folder, checkpoints, names, name)


def _bar(counted: Callable[[int], object]) -> Any:
    """Return the Hub's progress bar, which tells what else is to be called."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def update(self, n: Any = 1) -> Any:
            counted(n)
            return super().update(n)

    return Bar


def _files(manifest: Path, name: str) -> list[str]:
    """Return the files of a checkpoint, after checking that no name leads out of its folder."""
    try:
        names = list(json.loads(manifest.read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError):
        names = [""]
    if not all(isinstance(each, str) and checkpoint.FILE.fullmatch(each) for each in names):
        raise CodeparrotError(f"cannot resume from {name}: its {checkpoint.MANIFEST} is damaged; name another revision")
    return names


def _place(name: str) -> str:
    """Return the path of a checkpoint's file on the branch. The model is at the top, so that it loads by the branch's name."""
    if name.startswith("model/"):
        return PurePosixPath(name).name
    return name if name.startswith(f"{checkpoint.AVERAGE}/") else f"{STATE}{name}"


def _install(folder: Path, checkpoints: Path, names: list[str], name: str) -> Path:
    partial = folder / "checkpoint_here"
    shutil.rmtree(partial, ignore_errors=True)
    for each in names:
        source, target = folder / _place(each), partial / each
        if not source.is_file():
            raise CodeparrotError(f"cannot resume from {name}: {_place(each)} is missing there; name another revision")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # a file system without links
            shutil.copyfile(source, target)
    shutil.copyfile(folder / STATE / checkpoint.MANIFEST, partial / checkpoint.MANIFEST)
    fault = checkpoint.fault(partial)
    if fault:
        shutil.rmtree(folder)
        raise CodeparrotError(f"cannot resume from {name}: {fault}; try again, or name another revision")
    place = checkpoints / checkpoint.name_of(checkpoint.read_manifest(partial)["step"])
    partial.rename(place)
    metrics = checkpoints.parent / "metrics.jsonl"
    if (folder / "metrics.jsonl").is_file() and not metrics.exists():
        shutil.copyfile(folder / "metrics.jsonl", metrics)
    shutil.rmtree(folder)
    return place

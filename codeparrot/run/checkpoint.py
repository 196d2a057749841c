"""A checkpoint exists or it does not.

It is written beside its place, flushed to the disk, given a manifest with the size and SHA-256 of every file, and renamed
last. Only then are older ones removed. SIGKILL at any moment costs at most the work since the last checkpoint. A checkpoint
that was truncated at any byte is never chosen.

Their order is that of `number` in the manifest, which only grows: it is one more than the largest in the folder.
No clock has a say in it; `time` is for people. Manifests of earlier versions have no number: they come before all others, in
the order of their steps.

    step_00001000/
      model/          config.json, model.safetensors, tokenizer: loads with AutoModelForCausalLM.from_pretrained
      state/          moments-00000.safetensors ... (AdamW, whole tensors, dealt to the processes), training.json
      stream.json     positions of the lanes
      manifest.json   written last
"""

import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.setting import changeable, in_todays_names, renamed
from codeparrot.stream.mixture import weights_of

MANIFEST = "manifest.json"
AVERAGE = "ema"
"""Folder of a checkpoint with the average of the weights as a model (`train.ema_decay`)."""
MANIFEST_VERSION = 2
_PARTIAL = ".partial_"
_NAME = re.compile(r"step_\d+")
FILE = re.compile(r"(model|ema|state)/[\w][\w.\-]*|stream\.json")
"""Names that files of a checkpoint may have: one that was fetched must not write elsewhere."""

logger = logging.getLogger("codeparrot")


def name_of(step: int) -> str:
    return f"step_{step:08d}"


def partial_of(folder: Path, step: int) -> Path:
    """Return the folder in which the checkpoint of a step is written before it gets its name."""
    return folder / f"{_PARTIAL}{name_of(step)}"


def begin(partial: Path) -> None:
    """Make an empty folder to write a checkpoint into."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)


def describe(partial: Path, names: list[str]) -> dict[str, Any]:
    """Flush files of an unfinished checkpoint to the disk; return their entries for the manifest."""
    return {name: _describe(partial / name) for name in names}


def publish(partial: Path, facts: dict[str, Any], described: dict[str, Any]) -> Path:
    """Add the manifest to a written folder and give it its name; return the checkpoint.

    Args:
        partial: folder that holds all of `described`, flushed.
        facts: go into the manifest. Its number is at least their `number`, for one that knows of checkpoints which are gone.
        described: the files of all processes, from `describe`.
    """
    numbers = [number for number in map(_number, steps(partial.parent)) if number is not None]
    counted = {"number": max([facts.get("number", 0), *(number + 1 for number in numbers), 1]), "time": time.time()}
    manifest = {"version": MANIFEST_VERSION, **facts, **counted, "files": dict(sorted(described.items()))}
    # No newline at the end: a manifest that lost its last byte is not JSON.
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in (partial / MANIFEST, *(path for path in partial.rglob("*") if path.is_dir()), partial):
        files.flush(path)
    place = partial.with_name(partial.name.removeprefix(_PARTIAL))
    if place.exists():
        # This step was saved before and found damaged at the start, or one run saved it twice: the newer one counts.
        remove(place)
    partial.rename(place)
    files.flush(place.parent)
    return place


def fault(checkpoint: Path, share: int = 0, num_shares: int = 1) -> str | None:
    """Return why a checkpoint is not complete, or None if every byte of it is there.

    Each of `num_shares` readers checks the content of its share of the files, and that all files are there.
    """
    try:
        manifest = read_manifest(checkpoint)
    except CodeparrotError as error:
        return str(error)
    for index, (name, described) in enumerate(manifest["files"].items()):
        path = checkpoint / name
        try:
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != described["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {described['bytes']}"
            if index % num_shares == share and sha256_of(path) != described["sha256"]:
                return f"{name} has another SHA-256 than it was written with"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def read_manifest(checkpoint: Path) -> dict[str, Any]:
    """Return the manifest.

    Raises:
        CodeparrotError: there is none, or it is damaged.
    """
    try:
        manifest = files.read_object(checkpoint / MANIFEST)
    except FileNotFoundError:
        raise CodeparrotError(f"{checkpoint} has no {MANIFEST}: it is not a complete checkpoint") from None
    except OSError as error:
        raise CodeparrotError(f"{checkpoint / MANIFEST} cannot be read ({error.strerror})") from error
    except ValueError:
        raise CodeparrotError(f"{checkpoint / MANIFEST} is truncated or damaged") from None
    version = manifest.get("version")
    if version not in (None, MANIFEST_VERSION):
        raise CodeparrotError(f"{checkpoint} has version {version}; this program reads {MANIFEST_VERSION}")
    if version is None or not _is_manifest(manifest):
        raise CodeparrotError(f"{checkpoint / MANIFEST} is truncated or damaged")
    return manifest


def _is_manifest(found: dict[str, Any]) -> bool:
    """Whether everything is there that is read from any manifest, and of its type."""
    described = found.get("files")
    counts = found.get("step"), found.get("tokens", 0), found.get("number", 0)
    return (
        all(isinstance(count, int) and count >= 0 for count in counts)
        and isinstance(described, dict)
        and all(isinstance(each, dict) and {"bytes", "sha256"} <= each.keys() for each in described.values())
    )


def steps(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, complete or not, the newest first.

    Those whose manifest cannot be read come before all others: any of them may be the newest.
    """
    places = [place for place in folder.glob("step_*") if _NAME.fullmatch(place.name) and place.is_dir()]
    return sorted(places, key=_order, reverse=True)


def _order(place: Path) -> tuple[bool, int, int]:
    number = _number(place)
    return number is None, number or 0, int(place.name.removeprefix("step_"))


def _number(place: Path) -> int | None:
    """Return a checkpoint's number in the order of writing; 0 if an earlier version wrote it, None if nothing says."""
    try:
        return read_manifest(place).get("number", 0)
    except CodeparrotError:
        return None


def newest_complete(
    folder: Path,
    gather: Callable[[Any], list[Any]] = lambda item: [item],
    share: int = 0,
    num_shares: int = 1,
) -> Path | None:
    """Return the newest checkpoint that every process finds complete. The log names those that were passed over.

    Args:
        folder: holds the checkpoints.
        gather: returns the items of all processes in the order of their ranks; all of them call this function.
        share, num_shares: rank and number of the processes, which share the work of checking the files.
    """
    for place in gather(steps(folder))[0]:
        votes = gather(fault(place, share, num_shares))
        against = next((f"{f'process {rank}: ' if num_shares > 1 else ''}{why}" for rank, why in enumerate(votes) if why), None)
        if against is None:
            return place
        logger.log(logging.WARNING if share == 0 else logging.INFO, "passing over %s: %s", place, against)
    return None


def prune(folder: Path, keep_last: int, keep_every_steps: int, kept: Collection[int] = ()) -> None:
    """Remove leftovers of unfinished saves, and old checkpoints.

    The newest `keep_last` stay, and so do those at multiples of `keep_every_steps` and at the steps in `kept`.
    """
    for partial in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)
    # A named folder without a manifest is left from an interrupted removal. A damaged one does not count towards keep_last.
    present = steps(folder)
    whole = [place for place in present if _number(place) is not None]
    left_over = [place for place in present if not (place / MANIFEST).exists()]
    for place in [*whole[keep_last:], *left_over]:
        step = int(place.name.removeprefix("step_"))
        if step not in kept and (not keep_every_steps or step % keep_every_steps):
            remove(place)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint, its manifest first, so that an interrupted removal leaves no complete one."""
    (checkpoint / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted name, old, new) for each setting that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif old != new:
        yield prefix, old, new


def changes_that_matter(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return `name: old -> new` for each setting that would make the resumed run another run.

    A setting that `old` lacks, because an older version wrote it, is what it was then. Data and tokenizer are compared by
    content, not by path. What `new` leaves to the run is no change.
    """
    free = tuple(changeable(Config()))
    # Places may have moved; what the sources are read for may not have changed.
    before, after = weights_of(completed(old)["stream"]["train"]), weights_of(new["stream"]["train"])
    weights = [f"weights in stream.train: {before} -> {after}"] if before != after else []
    return weights + [
        f"{name}: {before} -> {after}"
        for name, before, after in differences(completed(old), new)
        if not any(name == each or name.startswith(f"{each}.") for each in free) and (name, after) not in _LEFT_TO_THE_RUN
    ]


_LEFT_TO_THE_RUN = (("stream.order", "auto"), ("stream.block_windows", 0))
"""Values that stand for what the run was begun with."""


def completed(saved: dict[str, Any]) -> dict[str, Any]:
    """Return a saved configuration under today's names, with the settings that it lacks: today's default, which is what they
    were, but for `stream.order` and `train.precision`."""
    config = Config()
    defaults = asdict(config)
    defaults["stream"]["order"] = "documents"  # the only one there was, when it was not recorded
    defaults["train"]["precision"] = "bf16"  # the default then
    whole = defaults | in_todays_names(saved, renamed(Config))
    for name in (name for name, section in vars(config).items() if is_dataclass(section)):
        whole[name] = defaults[name] | whole[name]
    return whole


def digest_of(manifest: dict[str, Any]) -> str:
    """Return what identifies a checkpoint: a SHA-256 over its model and its position in the data."""
    described: Iterable[tuple[str, dict[str, Any]]] = sorted(manifest["files"].items())
    lines = [f"{name} {file['sha256']}" for name, file in described if not name.startswith("state/")]
    return hashlib.sha256("\n".join([str(manifest["step"]), *lines]).encode()).hexdigest()[:32]


def _describe(path: Path) -> dict[str, Any]:
    files.flush(path)
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

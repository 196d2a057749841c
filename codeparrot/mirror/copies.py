"""The copies of a run's checkpoints at its mirror. A copy is whole or it does not count.

    run.json                      whose copies these are
    config.yaml, metrics.jsonl    of the run, as they were at the last copy
    checkpoints/step_00001000/    the files of the checkpoint; its manifest.json comes last, and goes first

A copy counts when its manifest is there and every file that it names has its size. After each file was sent, it is read back
and compared with the SHA-256 in the manifest. Files that an interrupted copy has left are compared and not sent again.
"""

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot import __version__, files
from codeparrot.errors import CodeparrotError
from codeparrot.mirror.store import Counted, Store, nothing
from codeparrot.publishing.ledger import Entry
from codeparrot.run import checkpoint
from codeparrot.run.metrics import read_lines

OWNER = "run.json"
METRICS = "metrics.jsonl"
BESIDE = ("config.yaml", METRICS)
"""Files of the run directory that are copied along."""
_FOLDER = "checkpoints"
_PROBE = ".codeparrot-probe"
_STEP = re.compile(rf"{_FOLDER}/(step_\d+)/(.+)")
_FETCHED = ".partial_fetched_"
"""Begins the name of the folder that a copy is fetched into. The next save removes what a kill has left of it."""

logger = logging.getLogger("codeparrot")


class Owner(NamedTuple):
    """Whose copies a mirror holds."""

    run: str
    """Name of the run."""
    id: str
    """Drawn when the run first came to a mirror."""


class Damaged(CodeparrotError):
    """A checkpoint or a copy of one does not hold what its manifest says."""


class Gone(Exception):
    """The checkpoint is no longer on the disk."""


def owner_of(store: Store, sizes: dict[str, int]) -> Owner | None:
    """Return whose copies are in a store that holds these files; None if it is empty.

    Raises:
        CodeparrotError: it holds something else.
    """
    if OWNER in sizes:
        try:
            found = json.loads(store.read(OWNER))
            return Owner(str(found["run"]), str(found["id"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CodeparrotError(f"{store.shown}/{OWNER} is damaged; name another checkpoint.mirror") from error
    others = sorted(name for name in sizes if not _is_passing(name))
    if not others:
        return None
    more = f" and {len(others) - 1} more" if others[1:] else ""
    raise CodeparrotError(
        f"checkpoint.mirror {store.shown} holds something else ({others[0]}{more}) than a run's copies; name an empty folder"
    )


def take(store: Store, owner: Owner) -> None:
    """Write down whose copies these will be."""
    _put_text(store, OWNER, json.dumps({"codeparrot": __version__, **owner._asdict()}))


def probe(store: Store) -> None:
    """Write, read and remove a small file.

    Raises:
        CodeparrotError: that does not work.
    """
    store.sizes()  # a server that takes connections and never answers is given up sooner when it is read from
    _put_text(store, _PROBE, "codeparrot")
    same = store.read(_PROBE) == b"codeparrot"
    store.remove(_PROBE)
    if not same:
        raise CodeparrotError(f"checkpoint.mirror {store.shown} does not return what was written to it; name another place")


class Found(NamedTuple):
    """What a mirror holds."""

    whole: list[Entry]
    """In the order in which the checkpoints were written."""
    faults: list[str]
    """Why others, which have a manifest, do not count."""


def look(store: Store, sizes: dict[str, int]) -> Found:
    """Return the copies in a store that holds these files. Contents are not read.

    Raises:
        CodeparrotError: the store fails, or a later codeparrot wrote a manifest there.
    """
    whole, faults = [], []
    for step in _steps(sizes):
        name = _name(step, checkpoint.MANIFEST)
        if name not in sizes:
            continue
        text = store.read(name)
        _refuse_newer(text, f"{store.shown}/{name}")
        manifest = _manifest(text)
        if manifest is None:
            faults.append(f"{store.shown}/{name} is truncated or damaged")
        elif missing := [each for each, file in manifest["files"].items() if sizes.get(_name(step, each)) != file["bytes"]]:
            faults.append(f"{store.shown}/{_name(step, missing[0])} is missing or has another size")
        else:
            whole.append(_entry(manifest))
    return Found(sorted(whole, key=lambda entry: (entry.number, entry.step)), faults)


def newest_manifest(store: Store) -> dict[str, Any] | None:
    """Return the manifest of the newest whole copy, or None."""
    whole = look(store, store.sizes()).whole
    return _manifest(store.read(_name(whole[-1].name, checkpoint.MANIFEST))) if whole else None


def _refuse_newer(text: bytes, name: str) -> None:
    """Raise where a later codeparrot wrote a manifest: it is not damaged, and its copy must not be removed."""
    try:
        found = json.loads(text)
    except ValueError:
        return
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > checkpoint.MANIFEST_VERSION:
        raise CodeparrotError(
            f"{name} has version {version}, and this program reads {checkpoint.MANIFEST_VERSION}: update codeparrot, or name "
            "another checkpoint.mirror"
        )


def _manifest(text: bytes) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / checkpoint.MANIFEST).write_bytes(text)
        try:
            return checkpoint.read_manifest(Path(folder))
        except CodeparrotError:
            return None


def _entry(manifest: dict[str, Any]) -> Entry:
    size = sum(each["bytes"] for each in manifest["files"].values())
    facts = manifest["step"], manifest["tokens"], checkpoint.digest_of(manifest), size, manifest.get("time", 0.0)
    return Entry(*facts, number=manifest.get("number", 0))


def _steps(sizes: Collection[str]) -> list[str]:
    return sorted({part[1] for part in map(_STEP.fullmatch, sizes) if part})


def copy(run: Path, entry: Entry, store: Store, counted: Counted = nothing) -> None:
    """Make a whole copy of a checkpoint, in the place of another one of the same step.

    Args:
        run: run directory.
        entry: the checkpoint.
        store: of the mirror.
        counted: called with the bytes that were sent, or found there.

    Raises:
        Gone: the checkpoint was removed meanwhile.
        Damaged: the checkpoint's files are not what its manifest says.
        CodeparrotError: the store fails.
    """
    place = run / "checkpoints" / entry.name
    try:
        manifest = checkpoint.read_manifest(place)
        text = (place / checkpoint.MANIFEST).read_bytes()
    except (CodeparrotError, OSError) as error:
        raise Gone from error
    if checkpoint.digest_of(manifest) != entry.digest:
        raise Gone
    try:
        _copy(place, manifest["files"], entry.name, store, counted)
    except CodeparrotError:
        if not (place / checkpoint.MANIFEST).is_file():
            raise Gone from None
        raise
    for name in BESIDE:
        if (run / name).is_file():
            # Training may append to it meanwhile.
            _put_bytes(store, name, (run / name).read_bytes())
    last = _name(entry.name, checkpoint.MANIFEST)
    _put_bytes(store, last, text)
    if store.read(last) != text:
        store.remove(last)
        raise CodeparrotError(f"{store.shown}/{last} is not what was written to it")


def _copy(place: Path, described: dict[str, Any], step: str, store: Store, counted: Counted) -> None:
    sizes = store.sizes()
    there = {name for name in sizes if name.startswith(f"{_FOLDER}/{step}/")}
    last = _name(step, checkpoint.MANIFEST)
    for name in [last] * (last in there) + sorted(there - {last, *(_name(step, name) for name in described)}):
        store.remove(name)
    for name, file in described.items():
        target = _name(step, name)
        if sizes.get(target) == file["bytes"] and store.sha256(target) == file["sha256"]:
            counted(file["bytes"])
            continue
        store.put(target, place / name, counted)
        if store.sha256(target) != file["sha256"]:
            if checkpoint.sha256_of(place / name) != file["sha256"]:
                raise Damaged(f"{place / name} has another SHA-256 than it was written with")
            raise CodeparrotError(f"{store.shown}/{target} is not what was written to it")


def tidy(
    store: Store, keep_last: int, keep_every_steps: int, coming: Collection[str] = (), damaged: Collection[str] = ()
) -> list[Entry]:
    """Remove what need not be kept; return the copies that stay.

    The newest `keep_last` whole copies stay, and so do those of steps that are multiples of `keep_every_steps`.

    Args:
        store: of the mirror.
        keep_last, keep_every_steps: as for checkpoints here.
        coming: names of checkpoints of which a copy is made next: what an interrupted copy has left of them stays, too.
        damaged: digests of copies that do not count; one goes when a newer whole copy is there.
    """
    sizes = store.sizes()
    found = look(store, sizes).whole
    whole = [entry for entry in found if entry.digest not in damaged]
    old = [entry for entry in whole[:-keep_last] if not keep_every_steps or entry.step % keep_every_steps]
    newest = whole[-1].number if whole else -1
    stay = [entry for entry in found if entry not in old and (entry.digest not in damaged or entry.number >= newest)]
    keep = {entry.name for entry in stay} | {*coming}
    for step in [each for each in _steps(sizes) if each not in keep]:
        last = _name(step, checkpoint.MANIFEST)
        for name in [last] * (last in sizes) + [
            name for name in sizes if name.startswith(f"{_FOLDER}/{step}/") and name != last
        ]:
            store.remove(name)
    return stay


def fetch(store: Store, entry: Entry, checkpoints: Path, counted: Counted = nothing) -> Path:
    """Copy a checkpoint from the mirror into a run's folder of checkpoints; return its complete folder.

    Raises:
        Damaged: a file is not what its manifest says; the message names it.
        CodeparrotError: the store fails.
    """
    last = _name(entry.name, checkpoint.MANIFEST)
    text = store.read(last)
    manifest = _manifest(text)
    if manifest is None or checkpoint.digest_of(manifest) != entry.digest:
        raise Damaged(f"{store.shown}/{last} is truncated or damaged, or was replaced just now")
    for name in manifest["files"]:
        if not checkpoint.FILE.fullmatch(name):
            raise Damaged(f"{store.shown}/{last} names a file that no checkpoint has ({name!r})")
    partial = checkpoints / partial_of(entry)
    _make_room(partial, {*manifest["files"]}, entry.num_bytes)
    for name, file in manifest["files"].items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        if (partial / name).is_file() and checkpoint.sha256_of(partial / name) == file["sha256"]:
            counted(file["bytes"])  # of a fetch that was interrupted
            continue
        store.fetch(_name(entry.name, name), partial / name, counted)
        if checkpoint.sha256_of(partial / name) != file["sha256"]:
            (partial / name).unlink()
            raise Damaged(f"{store.shown}/{_name(entry.name, name)} has another SHA-256 than it was written with")
    (partial / checkpoint.MANIFEST).write_bytes(text)
    files.flush_folder(partial)
    place = checkpoints / entry.name
    if place.exists():  # damaged, or of another course of the run
        checkpoint.remove(place)
    partial.rename(place)
    files.flush(checkpoints)
    return place


def _make_room(partial: Path, names: set[str], num_bytes: int) -> None:
    """Remove what an interrupted fetch has left of another checkpoint of this step; see that the rest fits on the disk."""
    partial.mkdir(parents=True, exist_ok=True)
    there = {str(file.relative_to(partial)): file for file in partial.rglob("*") if file.is_file()}
    for name in there.keys() - names:
        there.pop(name).unlink()
    missing = num_bytes - sum(file.stat().st_size for file in there.values())
    free = shutil.disk_usage(partial).free
    if missing > free:
        raise CodeparrotError(
            f"{partial.parent}: the copy needs {missing:,} bytes more, and {free:,} are free; make room there, or choose "
            "another run.dir"
        )


def partial_of(entry: Entry) -> str:
    """Return the name of the folder that a copy is fetched into."""
    return f"{_FETCHED}{entry.name}"


def fetch_metrics(store: Store, run: Path, sizes: dict[str, int], step: int) -> None:
    """Fetch metrics.jsonl unless the one here reaches the step of the checkpoint from which the run goes on."""
    place = run / METRICS
    if METRICS in sizes and _last_step(place) < step:
        with files.new_file(place) as fresh:
            store.fetch(METRICS, fresh)


def _last_step(metrics: Path) -> int:
    try:
        return max((line["step"] for line in read_lines(metrics)), default=-1)
    except OSError:
        return -1


def _name(step: str, name: str) -> str:
    return f"{_FOLDER}/{step}/{name}"


def _is_passing(name: str) -> bool:
    """Whether a file is what a killed start has left."""
    return name == _PROBE or name.rpartition("/")[2].startswith(files.UNFINISHED)


def _put_text(store: Store, name: str, text: str) -> None:
    _put_bytes(store, name, text.encode())


def _put_bytes(store: Store, name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_bytes(content)
        store.put(name, file)

"""The checkpoint of another run at which a run begins: how it is named, found, and written down.

A child begins with its parent's weights, optimizer state and place in the data. What it keeps of its parent, in its
`origin.json` and in the manifests of its checkpoints, is enough to go on when the parent's folder is gone:

    "parent": {"run": "runs/a", "name": "a", "step": 400, "tokens": 819200, "digest": "...",
               "commit": null, or {"repo", "branch", "commit"}: where that checkpoint is on the Hub}
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.location import HUB, near, path_of
from codeparrot.run import checkpoint
from codeparrot.run.origin import ORIGIN

_STEP = re.compile(r"(?P<run>.+)@(?:step_)?(?P<step>\d+)")


class Name(NamedTuple):
    """What a user wrote, taken apart."""

    run: str
    """Run folder."""
    step: int | None
    """None: its newest checkpoint."""

    def __str__(self) -> str:
        return self.run if self.step is None else f"{self.run}@step_{self.step}"


def named(text: str) -> Name:
    """Return the run and the step of RUN@step_N, of a run folder, or of a checkpoint's folder RUN/checkpoints/step_N.

    Raises:
        CodeparrotError: it is on the Hub.
    """
    if text.startswith(HUB):
        remedy = "fetch it into a run folder (codeparrot train --resume hub:NAME) and name that"
        raise CodeparrotError(f"--from {text}: a run begins at a checkpoint on this machine; {remedy}")
    path = Path(text)
    found = _STEP.fullmatch(text)
    if found and not path_of(text).exists():
        return Name(found["run"], int(found["step"]))
    if path.parent.name == "checkpoints" and re.fullmatch(r"step_\d+", path.name):
        return Name(str(path.parent.parent), int(path.name.removeprefix("step_")))
    return Name(str(path), None)


def find(name: Name) -> Path:
    """Return the checkpoint that a name means. Its files are not checked.

    Raises:
        CodeparrotError: there is no such run, or it does not hold the checkpoint; those that it holds are named.
    """
    folder = path_of(name.run)
    if not (folder / "checkpoints").is_dir():
        raise CodeparrotError(f'--from {name}: there is no run "{name.run}"{near(name.run)}')
    whole = [place for place in checkpoint.steps(folder / "checkpoints") if (place / checkpoint.MANIFEST).is_file()]
    place = next((each for each in whole if name.step in (None, _step(each))), None)
    if place is None:
        steps = ", ".join(str(step) for step in sorted(map(_step, whole)))
        held = f"its checkpoints are of step {steps}" if steps else "it has none"
        remedy = "checkpoint.every_steps saves more of them, checkpoint.keep_every_steps keeps them"
        raise CodeparrotError(f"--from {name}: {name.run} has no checkpoint of that step; {held} ({remedy})")
    return place


def facts_of(place: Path) -> dict[str, Any]:
    """Return what a child keeps of the checkpoint that it begins at.

    Raises:
        CodeparrotError: its manifest cannot be read.
    """
    run, manifest = place.parent.parent, checkpoint.read_manifest(place)
    digest = checkpoint.digest_of(manifest)
    facts = {"run": str(run), "name": run.resolve().name, "step": manifest["step"], "tokens": manifest["tokens"]}
    return facts | {"digest": digest, "commit": _commit(run, digest)}


def _commit(run: Path, digest: str) -> dict[str, str] | None:
    """Return where a checkpoint is on the Hub, by the run's hub.json."""
    try:
        pushed = files.read_object(run / "hub.json").get("pushed")
    except (OSError, ValueError):
        return None  # it is not pushed, or hub.json is damaged: a push says so
    for each in pushed if isinstance(pushed, list) else []:
        if isinstance(each, dict) and each.get("digest") == digest:
            return {key: str(each.get(key, "")) for key in ("repo", "branch", "commit")}
    return None


def of_origin(origin: Any) -> dict[str, Any] | None:
    """Return what an origin (run/origin.py) says of the parent, or None if the run began by itself."""
    found = origin.get("parent") if isinstance(origin, dict) else None
    kinds = {"run": str, "name": str, "step": int, "tokens": int}
    known = isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in kinds.items())
    return found if known else None


def parent_of(run: Path) -> dict[str, Any] | None:
    """Return what a run directory says of the parent, or None: also where its origin cannot be read."""
    try:
        return of_origin(files.read_object(run / ORIGIN))
    except (OSError, ValueError):
        return None


def _step(place: Path) -> int:
    return int(place.name.removeprefix("step_"))

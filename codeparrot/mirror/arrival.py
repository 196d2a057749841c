"""What a start takes from the mirror: the newest whole checkpoint, where the run directory has none or an older one.

One process asks and fetches, the others wait for it without a limit of time. This comes before anything looks for the
checkpoint from which the run goes on, so that a fetched one is like any other.
"""

import logging
import shutil
from contextlib import ExitStack
from pathlib import Path

from codeparrot import files
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError, writing
from codeparrot.location import HUB, is_address, path_of
from codeparrot.mirror import copies
from codeparrot.mirror.claim import claim
from codeparrot.mirror.state import State
from codeparrot.mirror.store import Store, open_store
from codeparrot.publishing.ledger import Entry
from codeparrot.result import progress_bar, say
from codeparrot.run import checkpoint
from codeparrot.run.status import lock
from codeparrot.stream.readers.patience import Unanswered, until_broken_off

logger = logging.getLogger("codeparrot")


def arrive(config: Config) -> None:
    """Check that the mirror can be written to and is this run's; fetch from it what the run directory lacks.

    If the mirror does not answer, a run that has a checkpoint here goes on without it.

    Raises:
        CodeparrotError: the run must not begin like this.
    """
    run = config.run_directory
    _check_apart(config)
    with ExitStack() as stack:
        with writing(run, "run.dir"):
            is_new = not run.exists()
            (run / "checkpoints").mkdir(parents=True, exist_ok=True)
            if not lock(run, stack):
                raise CodeparrotError(f"another process is training in {run}; wait for it, or choose another run.name")
        # Of two that start at once both find it new; only the one that has the lock may remove it.
        try:
            _arrive(config)
        except CodeparrotError:
            if is_new and not any((run / "checkpoints").iterdir()):  # else the next start goes on with what was fetched
                shutil.rmtree(run, ignore_errors=True)
            raise


def _check_apart(config: Config) -> None:
    """Check that the mirror is not inside the run directory, with which it would be lost."""
    mirror = config.checkpoint.mirror
    if not is_address(mirror) and path_of(mirror).resolve().is_relative_to(path_of(config.run_directory).resolve()):
        raise CodeparrotError(
            f"checkpoint.mirror {mirror} is inside {config.run_directory}, and would be lost with it; name a folder on another "
            "disk"
        )


def fetch_parent(run: Path, step: int | None) -> bool:
    """Fetch a checkpoint of another run from the mirror that its config.yaml names; return whether there is one.

    Any number of processes may call this at once: one fetches, the others wait for it.

    Args:
        run: run directory, which lacks the checkpoint.
        step: of the checkpoint; None: the newest.

    Raises:
        CodeparrotError: the mirror does not answer, or the copy is damaged.
    """
    mirror = _mirror_of(run)
    if not mirror:
        return False
    store = open_store(mirror)
    whole = copies.look(store, store.sizes()).whole
    entry = next((each for each in reversed(whole) if step in (None, each.step)), None)
    if entry is None:
        return False
    (run / "checkpoints").mkdir(exist_ok=True)
    with files.locked(run / ".mirror.fetching", wait=True):
        if checkpoint.fault(run / "checkpoints" / entry.name):
            say(f"fetching {entry.name} of {run} from {store.shown}")
            copies.fetch(store, entry, run / "checkpoints")
    return True


def _mirror_of(run: Path) -> str:
    """Return the mirror of a run directory; nothing if nothing says so."""
    import yaml

    try:
        found = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        return str(found["checkpoint"]["mirror"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return ""


def _arrive(config: Config) -> None:
    run, store = config.run_directory, open_store(config.checkpoint.mirror)
    state = State(run)
    state.open(config)
    say(f"asking the mirror {store.shown} for checkpoints of {config.run.name}")
    own = place = None
    try:
        copies.probe(store)
        found = claim(state, config.run.name, store)
        for why in found.faults:
            logger.warning("passing over %s", why)
        if config.resume == "never" and found.whole:
            raise CodeparrotError(
                f"resume is never, but {store.shown} holds {len(found.whole)} copies (newest {found.whole[-1].name}); choose "
                "another run.name and another checkpoint.mirror"
            )
        if not _is_asked(config, store, found):
            return
        step = _step_asked(config)
        if step is not None:
            missing = checkpoint.fault(run / "checkpoints" / step) is not None
            place = _fetch_first([entry for entry in found.whole if missing and entry.name == step], store, state)
        else:
            own = checkpoint.newest_complete(run / "checkpoints") if found.whole or found.faults else None
            number = checkpoint.read_manifest(own).get("number", 0) if own else -1
            newer = [entry for entry in reversed(found.whole) if entry.number > number]
            place = _fetch_first(newer, store, state)
            if place is None and own is None and (found.whole or found.faults):
                raise CodeparrotError(
                    f"{store.shown} holds copies and none is whole (named above): the run would begin again at step 0; remove "
                    "them to do so, or choose another run.name and another checkpoint.mirror"
                )
        begins = place or own
        if begins is not None:
            copies.fetch_metrics(store, run, store.sizes(), checkpoint.read_manifest(begins)["step"])
    except Unanswered as error:
        own = own or next((place for place in checkpoint.steps(run / "checkpoints") if not checkpoint.fault(place)), None)
        if own is None:
            raise CodeparrotError(f"checkpoint.mirror: {error}; or leave it out to begin without copies") from error
        logger.warning("%s; the run goes on from %s, copies wait", error.why, own)


def _is_asked(config: Config, store: Store, found: copies.Found) -> bool:
    """Whether this start goes on from the run's own checkpoints, wherever they are."""
    resume, run = config.resume, config.run_directory
    if resume in ("auto", "never") or resume.startswith(HUB) or _step_asked(config) is not None or not found.whole:
        return True
    if path_of(resume).resolve() == run.resolve():
        return True
    # A run that was begun from another's checkpoint goes on from its own ones.
    manifest = copies.newest_manifest(store)
    return manifest is not None and manifest["config"].get("resume") == resume


def _step_asked(config: Config) -> str | None:
    """Return the name of the run's own checkpoint that `resume` names, or None."""
    if config.resume in ("auto", "never") or config.resume.startswith(HUB):
        return None
    place = path_of(config.resume)
    own = (config.run_directory / "checkpoints").resolve()
    return place.name if place.parent.resolve() == own and place.name.startswith("step_") else None


def _fetch_first(wanted: list[Entry], store: Store, state: State) -> Path | None:
    """Fetch the first of these copies that is whole. Those that are not are named, and copied again when that can be."""
    for entry in wanted:
        try:
            with progress_bar(total=entry.num_bytes, desc=f"fetching {entry.name}", unit="B", unit_scale=True) as bar:
                place = copies.fetch(store, entry, state.run / "checkpoints", until_broken_off(bar.update))
        except copies.Damaged as error:
            logger.warning("passing over %s", error)
            shutil.rmtree(state.run / "checkpoints" / copies.partial_of(entry), ignore_errors=True)
            state.note(damaged=[*state.read()["damaged"], entry.digest])
            continue
        say(f"fetched {entry.name} from {store.shown}, every file as its manifest says")
        return place
    return None

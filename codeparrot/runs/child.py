"""`codeparrot train --from RUN@step_N`: what a run that begins at a checkpoint of another takes from it.

Settings that the child is not given are those in the checkpoint's manifest; it has a name, a branch on the Hub and a length of
its own. `schedule.decay_now` becomes numbers here, `train.max_steps` and `schedule.decay_fraction`, so that the learning rate
stays a pure function of the step and `config.yaml` alone goes on with the run. The same command also goes on when the parent's
checkpoint, or the whole parent, is gone: once a child has checkpoints, its own manifest holds what it was given.

Nothing here loads PyTorch.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from codeparrot.arguments import parse_config, parse_settings
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.optim.schedule import learning_rate
from codeparrot.run import checkpoint, parent
from codeparrot.run.parent import Name

_FLAGS = ("--from", "--parent")
_IN_A_FILE = re.compile(r"^(from|parent)\s*:\s*\S", re.MULTILINE)
_DERIVED = ("--train.max_steps", "--schedule.decay_fraction")
"""What `schedule.decay_now` stands for."""


def inherit(kind: Any, arguments: Sequence[str], prog: str) -> list[str]:
    """Return the words of a command with the settings of the parent before them, and what its step implies behind them.

    Args:
        kind: dataclass of the settings, `Config` or one that extends it.
        arguments: words of the command; without a parent they are returned as they are.
        prog: the command, for errors.

    Raises:
        CodeparrotError: there is no such parent, the run began elsewhere, or the settings contradict the parent.
    """
    if "parent" in getattr(kind, "left_out", ()):
        return [*arguments]  # its own check refuses a parent
    # What prints the settings prints those that follow from the parent's.
    printing = [word for word in arguments if word.startswith("--print_config")]
    words = [word for word in arguments if word not in printing]
    if not _may_name_a_parent(words):
        return [*arguments]
    asked = parse_settings(kind, [_as_config({"run": {"name": "", "dir": ""}}), *words], prog, parse_config)
    if not asked.parent:
        return [*arguments]
    if asked.resume not in ("auto", "never"):
        if _flags(words) & {*_FLAGS}:
            raise CodeparrotError("--from and --resume name two checkpoints to begin at; leave one of them out")
        return [*arguments]  # the settings of a child, that goes on from the checkpoint which is named
    name = parent.named(asked.parent)
    if not asked.run.name:
        raise CodeparrotError(f"--from {name} begins a run of its own; give it a name: --run.name {Path(name.run).name}-cool")
    child = path_of(asked.run.dir or Path(name.run).parent) / asked.run.name
    if child.resolve() == path_of(name.run).resolve():
        raise CodeparrotError(f"--from {name}: {child} is that run itself; choose another run.name")
    own = _newest_manifest(child) or _at_mirror(asked)
    if own is not None:
        name = _as_begun(child, own, name)
    place = _place(name, own)
    manifest = own if place is None else checkpoint.read_manifest(place)
    assert manifest is not None  # _place finds nothing only where there is a checkpoint of its own
    name = name if name.step is not None else Name(name.run, manifest["step"])
    words = [_as_config(_passed_on(manifest["config"], name)), *words, f"--parent={name}"]
    derived = _derived(parse_settings(kind, words, prog, parse_config), name, words, manifest if place else None)
    return [*words, *derived, *printing]


def _may_name_a_parent(words: Sequence[str]) -> bool:
    """Whether a flag or a file of settings may name one: most runs have none, and need no further look."""
    if {"-h", "--help"} & {*words}:
        return False
    return bool(_flags(words) & {*_FLAGS}) or any(_IN_A_FILE.search(_text_of(file)) for file in _files(words))


def _flags(words: Sequence[str]) -> set[str]:
    return {word.partition("=")[0].replace("-", "_").replace("__", "--", 1) for word in words if word.startswith("--")}


def _files(words: Sequence[str]) -> list[str]:
    named = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    return named + [after for word, after in pairwise(words) if word == "--config"]


def _text_of(file: str) -> str:
    try:
        return path_of(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # the parser reads it too, and says what is wrong with it


def _as_config(settings: Mapping[str, Any]) -> str:
    return f"--config={json.dumps(settings)}"


def _newest_manifest(run: Path) -> dict[str, Any] | None:
    """Return the manifest of the newest checkpoint in a run directory, if it has one that can be read."""
    for place in checkpoint.steps(run / "checkpoints"):
        with suppress(CodeparrotError):  # a damaged one is passed over, as by every run that goes on
            return checkpoint.read_manifest(place)
    return None


def _at_mirror(asked: Any) -> dict[str, Any] | None:
    """Return the manifest of the newest copy at the child's mirror; None if it has none, or is not the child's.

    Raises:
        CodeparrotError: the mirror does not answer, so that nothing says where the child is.
    """
    if not asked.checkpoint.mirror:
        return None
    from codeparrot.mirror import copies
    from codeparrot.mirror.store import open_store

    store = open_store(asked.checkpoint.mirror)
    owner = copies.owner_of(store, store.sizes())
    return copies.newest_manifest(store) if owner is not None and owner.run == asked.run.name else None


def _as_begun(child: Path, own: dict[str, Any], name: Name) -> Name:
    """Return where a run that has checkpoints began, after checking that this is what was asked for."""
    begun = parent.of_origin(own.get("origin"))
    if begun is None:
        raise CodeparrotError(f"{child} has checkpoints and did not begin at {name}; choose another run.name")
    if begun["name"] != path_of(name.run).resolve().name or name.step not in (None, begun["step"]):
        at = Name(str(begun["run"]), begun["step"])
        raise CodeparrotError(f"{child} began at {at} and not at {name}; choose another run.name")
    return Name(name.run, begun["step"])


def _place(name: Name, own: dict[str, Any] | None) -> Path | None:
    """Return the parent's checkpoint; None if it is gone and the child has checkpoints of its own.

    Raises:
        CodeparrotError: there is none to begin at, or it is another one than the child began at.
    """
    try:
        place = _found(name, own)
        facts = parent.facts_of(place)
    except CodeparrotError:
        if own is None:
            raise
        return None
    begun = parent.of_origin(own.get("origin")) if own else None
    if begun and begun.get("digest") != facts["digest"]:
        raise CodeparrotError(f"{place} is no longer the checkpoint that this run began at; choose another run.name")
    return place


def _found(name: Name, own: dict[str, Any] | None) -> Path:
    """Return the parent's checkpoint. What a child needs to begin may also be at the parent's mirror."""
    try:
        return parent.find(name)
    except CodeparrotError:
        from codeparrot.mirror.arrival import fetch_parent

        if own is not None or not fetch_parent(path_of(name.run), name.step):
            raise
        return parent.find(name)


def _passed_on(saved: dict[str, Any], name: Name) -> dict[str, Any]:
    """Return the settings that a child has from its parent: all but those which name the parent itself."""
    config = checkpoint.completed(saved)
    own: dict[str, dict[str, Any]] = {"run": {"name": "", "dir": str(Path(name.run).parent)}, "hub": {"branch": ""}}
    own |= {"checkpoint": {"mirror": ""}, "schedule": {"decay_now": 0.0}}
    sections = {section: config[section] | values for section, values in own.items()}
    return config | sections | {"resume": "auto", "parent": ""}


def _derived(settings: Any, name: Name, words: Sequence[str], manifest: dict[str, Any] | None) -> list[str]:
    """Return the flags that follow from the parent's step.

    Args:
        settings: of the child, before them.
        name: of the parent's checkpoint.
        words: of the command.
        manifest: of the parent's checkpoint; None if it is gone, and was checked when the child began.
    """
    step, share = name.step or 0, settings.schedule.decay_now
    if not share:
        if settings.train.max_steps <= step:
            remedy = "set --schedule.decay_now 0.1, for example, or a larger --train.max_steps"
            steps = settings.train.max_steps
            raise CodeparrotError(f"--from {name}: train.max_steps {steps} leaves nothing to train; {remedy}")
        return []
    if not 0 < share < 1:
        return []  # the check of the ranges names it
    if manifest is not None:
        _check_constant(checkpoint.completed(manifest["config"]), name)
    last = max(step + 1, round(step / (1 - share)))
    fraction = (last - step) / last
    given = [flag for flag in _DERIVED if flag in _flags(words)]
    if (settings.train.max_steps != last and _DERIVED[0] in given) or (
        settings.schedule.decay_fraction != fraction and _DERIVED[1] in given
    ):
        said = f"schedule.decay_now {share:g} from step {step} ends the run at step {last}, of which {last - step} decay"
        raise CodeparrotError(f"{said}; leave {' and '.join(given)} out, or schedule.decay_now")
    return [f"{_DERIVED[0]}={last}", f"{_DERIVED[1]}={fraction!r}"]


def _check_constant(config: dict[str, Any], name: Name) -> None:
    """Check that the parent trained at its peak rate up to the checkpoint.

    Raises:
        CodeparrotError: its schedule has no constant part, was still warming up, or had begun to decay.
    """
    schedule, steps, step = config["schedule"], config["train"]["max_steps"], name.step or 0
    if schedule["name"] not in ("wsd", "constant"):
        remedy = "begin a run with --schedule.name wsd, or start from the checkpoint with --resume PATH"
        raise CodeparrotError(
            f"--from {name}: schedule.decay_now needs a learning rate that is constant up to there, and its schedule is "
            f"{schedule['name']}; {remedy}"
        )
    shape = {key: schedule[key] for key in ("name", "warmup_steps", "final_fraction", "decay_fraction", "decay_shape")}
    rate = learning_rate(step - 1, peak=1.0, max_steps=steps, **shape)
    if rate != 1.0:
        warm_up = step < schedule["warmup_steps"]
        how = "was still warming up" if warm_up else "had begun to decay"
        first = schedule["warmup_steps"] if warm_up else max(1, steps - max(1, round(schedule["decay_fraction"] * steps)))
        where = f"at step {first} or later" if warm_up else f"at a checkpoint of step {first} or before"
        raise CodeparrotError(f"--from {name}: its learning rate {how} ({rate:.3g} of the peak); begin {where}")

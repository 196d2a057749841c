"""A run that begins at a checkpoint of another run (`parent`, run/parent.py): which one, and what it may change.

It has the data, their order, the model and the precision of its parent, so its first step is the parent's next one to the last
bit. What updates the weights from there on is its own: schedule, length, rates.
"""

from pathlib import Path

from codeparrot.errors import CodeparrotError
from codeparrot.run import checkpoint, parent
from codeparrot.training.parts import Start

_OWN = ("schedule", "optim", "train.max_steps", "train.z_loss", "train.outlier_sigmas", "train.outlier_window")
"""Settings and sections of its own, besides those that a resumed run may change."""
_LENGTH = "train.max_steps: "
_KEPT = ("optim.name",)
"""Another optimizer has another state."""


def at_parent(training: Start) -> tuple[Path | None, str | None]:
    """Return the checkpoint at which the run begins, or why it cannot. All processes call this and get the same."""
    asked = training.config.parent
    seen = training.agreement.gather(asked)
    if len(set(seen)) > 1:
        return None, f"--from: the parent wrote a checkpoint just now, and processes found {' and '.join(sorted(set(seen)))}"
    try:
        place, fault = parent.find(parent.named(asked)), None
        fault = checkpoint.fault(place, training.accelerator.process_index, training.accelerator.num_processes)
    except CodeparrotError as error:
        place, fault = None, str(error)
    votes = training.agreement.gather(fault)
    why = next((vote for vote in votes if vote), None)
    return place, f"cannot begin at {asked}: {why}; name another checkpoint of that run" if why else None


def refused(place: Path, changes: list[str], phases: bool) -> str | None:
    """Return why a run must not begin at its parent's checkpoint, or None.

    Args:
        place: the checkpoint.
        changes: of its settings, `name: old -> new`.
        phases: whether the weights of its sources have phases, which are shares of its length.
    """
    length = next((change for change in changes if change.startswith(_LENGTH)), None)
    if phases and length:
        return (
            f"{place} is of a run with stream.phases, which are shares of its length: another length ({length}) would "
            f"change the data; begin with --resume {place} in the place of --from, and with phases of its own"
        )
    others = [change for change in changes if not _is_own(change.partition(":")[0])]
    if not others:
        return None
    said = f"a run that begins at {place} keeps its data, their order, the model and the precision ({'; '.join(others)})"
    return f"{said}; leave these out, or begin another phase of training with --resume {place} in the place of --from"


def _is_own(name: str) -> bool:
    return name not in _KEPT and any(name == each or name.startswith(f"{each}.") for each in _OWN)

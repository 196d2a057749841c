"""Where the order of a run's windows began; `codeparrot inspect` walks from there.

From its origin on, the stream is continuous, however often the run was interrupted: the same data, order and global batches. A
run that goes on from a named checkpoint in another order, or on other data, has a new origin. `origin.json` in the run
directory belongs to the last start; a checkpoint's manifest carries its own, which moves with the checkpoint.

    {"step": 0, "stream": {... a state of the stream ...}, "from": null, or the checkpoint that the run went on from,
     "weights": {"from": "owner/name", "revision": commit, "sha256": {file: digest}},
     "parent": of a run that began at a checkpoint of another one (run/parent.py)}

`weights` is there where a run began with those of another model (`model.from`); who goes on from its checkpoints keeps it.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.run.checkpoint import completed
from codeparrot.setting import changeable
from codeparrot.stream.batches import batches_of
from codeparrot.stream.mixture import weights_of

ORIGIN = "origin.json"
WEIGHTS = "weights"
"""Key of what the run began with, if its weights were not drawn."""


def same_order(saved: dict[str, Any], config: Config) -> bool:
    """Whether a manifest's configuration deals out the data in the same order as `config`.

    Settings of the stream that a resumed run may change do not change the order. The stream compares the data itself.
    """
    theirs = completed(saved)["stream"]
    free = dict.fromkeys(changeable(config.stream))
    return (
        {**theirs, **free} == {**asdict(config.stream), **free}
        and weights_of(theirs["train"]) == weights_of(config.stream.train)
        and (not config.stream.phases or saved["train"]["max_steps"] == config.train.max_steps)
        and saved["run"]["seed"] == config.run.seed
        and batches_of(saved["train"]) == batches_of(config.train)
    )


def read_origin(run: Path) -> dict[str, Any]:
    """Return the origin of a run directory.

    Raises:
        CodeparrotError: it has none, or it cannot be read.
    """
    try:
        origin = files.read_object(run / ORIGIN)
        if not isinstance(origin.get("step"), int) or not isinstance(origin.get("stream"), dict) or "from" not in origin:
            raise ValueError("it is not what a run writes")
        return origin
    except (OSError, ValueError) as error:
        raise CodeparrotError(
            f"{run / ORIGIN} cannot be read ({error}), so nothing says where the data of {run} begins; train it on to write it"
        ) from error

"""Which checkpoint a start will go on from, as far as names and manifests tell, before any process has checked its files."""

from contextlib import suppress
from pathlib import Path

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.location import HUB, path_of
from codeparrot.run import checkpoint, parent


def begun(config: Config) -> Path | None:
    """Return the checkpoint that this start goes on from; None at the beginning of a run, or where only the Hub has it.

    A run that begins at a checkpoint of another one goes on from that until it has its own.

    Which one it is in the end is decided once the processes have started (training/resume.py); here no file is checked.

    Raises:
        CodeparrotError: the parent has no such checkpoint.
    """
    if config.resume == "never":
        return None
    own = checkpoint.steps(config.run_directory / "checkpoints")
    named = path_of(config.resume)
    others = (
        [] if config.resume == "auto" or config.resume.startswith(HUB) else [named, *checkpoint.steps(named / "checkpoints")]
    )
    for place in [*own, *others]:
        with suppress(CodeparrotError):
            saved = checkpoint.read_manifest(place)["config"]
            # A run that was begun from a checkpoint goes on from its own ones, until another is named.
            if place not in own or not others or saved["resume"] == config.resume:
                return place
    return parent.find(parent.named(config.parent)) if config.parent and config.resume == "auto" else None


def on_hub(config: Config) -> bool:
    """Whether this start goes on from a checkpoint on the Hub, since the run directory has none."""
    return config.resume.startswith(HUB) and not checkpoint.steps(config.run_directory / "checkpoints")

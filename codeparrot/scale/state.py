"""Where the runs of a series are in its folder, and how far they got."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot import files

if TYPE_CHECKING:
    from codeparrot.scale.rule import Run


def config_file(run: "Run", output: Path) -> Path:
    return output / "configs" / f"{run.name}.yaml"


def begun(run: "Run") -> bool:
    return (run.config.run_directory / "status.json").is_file()


def status_of(run: "Run") -> dict[str, Any]:
    """Return what status.json says of a run; empty where it has none, or a damaged one."""
    try:
        return files.read_object(run.config.run_directory / "status.json")
    except (OSError, ValueError):
        return {}


def finished(run: "Run") -> bool:
    status = status_of(run)
    return status.get("state") == "finished" and status.get("step") == run.config.train.max_steps


def loss_of(run: "Run") -> float | None:
    """Return the loss of a finished run on its validation set, in nats a token."""
    from codeparrot.run.metrics import read_lines

    if not finished(run):
        return None
    lines = read_lines(run.config.run_directory / "metrics.jsonl")
    return next((line["eval_loss"] for line in reversed(lines) if line.get("eval_loss") is not None), None)

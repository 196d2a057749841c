"""Series of a recipe that is tiny, with what stands for training."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from codeparrot.cli import main

EVALUATED = {"evaluate": {"every_steps": 100, "sample_tokens": 0, "micro_batch_size": 64}}
SMALL = ["--depths", "1", "--tokens_per_parameter", "0.5", "1"]
NAMES = ["tiny-d1-t0.5", "tiny-d1-t1"]


def scale_run(recipe: Path, *arguments: str) -> int:
    return main(["scale", "run", "--config", str(recipe), "--output", str(recipe.parent / "scale"), *arguments])


def as_json(recipe: Path, capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert scale_run(recipe, *arguments, "--json") == status
    return json.loads(capsys.readouterr().out)


def starts(recipe: Path) -> dict[str, int]:
    return {path.parent.name: len(path.read_text()) for path in (recipe.parent / "scale" / "runs").glob("*/started")}


@contextmanager
def terminated_when_begun(recipe: Path, *names: str) -> Iterator[None]:
    """Send SIGTERM to this process as soon as these runs have begun."""
    begun = [recipe.parent / "scale" / "runs" / name / "started" for name in names]

    def signal_it() -> None:
        deadline = time.monotonic() + 60
        while not all(path.exists() for path in begun) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=signal_it)
    thread.start()
    yield
    thread.join()

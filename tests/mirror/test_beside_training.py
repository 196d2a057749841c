"""The copier's process, as training sees it."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from codeparrot.mirror import beside_training
from codeparrot.mirror.beside_training import Mirror
from codeparrot.mirror.state import State
from tests.mirror.made import config_of


def test_a_copier_that_no_signal_ends_keeps_no_run_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(beside_training, "END_SECONDS", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(20)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        with Mirror(config_of(tmp_path / "a", tmp_path / "mirror"), True) as mirror:
            mirror._process = process  # type: ignore[assignment]
        assert process.poll() is None and "hangs in the file system of the mirror" in caplog.text
        process.kill()


@pytest.mark.parametrize(("count", "said"), [(1, "1 checkpoint"), (2, "2 checkpoints")])
def test_what_waits_is_counted_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, count: int, said: str
) -> None:
    mirror = Mirror(config_of(tmp_path / "a", tmp_path / "mirror"), True)
    facts = {"copied": [], "skipped": [], "state": "unreachable", "error": "gone", "waiting": [0] * count}
    monkeypatch.setattr(State, "read", lambda state: facts)
    with caplog.at_level(logging.WARNING):
        mirror._report()
    assert caplog.messages == [f"the mirror (unreachable): gone; still to be copied: {said}"]

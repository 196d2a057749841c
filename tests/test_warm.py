"""A process that starts warm is what a cold one is: its words, its environment, its folder, its streams, its end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import started
from tests.warm import Warm

SAYS = """
import os, sys, torch
print(sys.argv, os.getcwd(), os.environ["OWN_VALUE"], os.environ.get("OTHER"), os.getsid(0) == os.getpid(), __name__)
print(sys.stdin.read() == "", torch.get_num_threads(), file=sys.stderr)
sys.exit(7)
"""
WAITS = "import time; print('on', flush=True); time.sleep(60)"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["script", "-m", "-c"])
def test_a_warm_process_says_and_ends_what_a_cold_one_does(tmp_path: Path, form: str) -> None:
    (tmp_path / "says.py").write_text(SAYS, encoding="utf-8")
    environment = {**os.environ, "OWN_VALUE": "ä b", "PYTHONPATH": str(tmp_path)}
    words = {"script": [str(tmp_path / "says.py")], "-m": ["-m", "says"], "-c": ["-c", SAYS]}[form]
    command = [sys.executable, "-u", *words, "-P", "--flag"]
    said = []
    for warm in (True, False):
        process = started(command, tmp_path, environment, warm=warm)
        said.append((*process.communicate(timeout=120), process.returncode))
    assert said[0] == said[1] and said[0][2] == 7 and f"{tmp_path} ä b None True __main__" in said[0][0]


@pytest.mark.slow
def test_a_warm_process_that_a_test_left_behind_does_not_end_the_others() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    left = Warm([sys.executable, "-c", WAITS], environment)
    pid = left.pid
    del left  # nobody waits for its status
    os.kill(pid, signal.SIGKILL)
    process = Warm([sys.executable, "-c", WAITS], environment)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    assert process.poll() is None
    process.kill()
    assert process.wait(20) == -signal.SIGKILL and process.communicate()[1] == ""

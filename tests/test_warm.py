"""A process that starts warm is what a cold one is: its words, its environment, its folder, its streams, its end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import started
from tests.warm import BELOW, Warm

SAYS = """
import os, sys, torch
print(sys.argv, os.getcwd(), os.environ["OWN_VALUE"], os.environ.get("OTHER"), os.getsid(0) == os.getpid(), __name__)
print(sys.stdin.read() == "", torch.get_num_threads(), file=sys.stderr)
sys.exit(7)
"""
STARTS = """
import os, subprocess, sys
print("begins")
child = [sys.executable, "-u", sys.argv[1], str(os.getpid()), str(os.getpgid(0))]
done = subprocess.run(child, cwd="/", capture_output=True, text=True)
print(done.returncode, done.stdout, done.stderr)
print(subprocess.Popen(child, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait())
with open("said", "w+b") as file:
    print(subprocess.Popen(child, stdout=file, stderr=subprocess.DEVNULL, start_new_session=True).wait())
    file.seek(0)
    print(file.read().decode())
print(subprocess.run(["true"]).returncode, subprocess.run([sys.executable, "-c", "print('of a library')"]).returncode)
"""
CHILD = """
import os, sys
print("tests.warm" in sys.modules, file=open("/dev/fd/2", "w"))
print(os.getppid() == int(sys.argv[1]), os.getpgid(0) == int(sys.argv[2]), os.getcwd(), __name__)
sys.exit(3)
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
def test_what_a_warm_process_starts_is_forked_where_that_is_asked_for_and_is_its_child(tmp_path: Path) -> None:
    (tmp_path / "starts.py").write_text(STARTS, encoding="utf-8")
    (tmp_path / "child.py").write_text(CHILD, encoding="utf-8")
    command = [sys.executable, "-u", "starts.py", str(tmp_path / "child.py")]
    said = {}
    for warm, below in ((True, {BELOW: "1"}), (True, {}), (False, {})):
        process = started(command, tmp_path, {**os.environ, **below}, warm=warm)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0 and err == "", err
        said[warm, bool(below)] = out
    cold = said[False, False]
    assert cold.count("True True / __main__") == 1 and cold.count(f"True False {tmp_path} __main__") == 1
    assert said[True, False] == cold and said[True, True] == cold.replace("False\n\n3", "True\n\n3") != cold


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

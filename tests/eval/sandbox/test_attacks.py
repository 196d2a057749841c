"""Hostile programs (attacks.txt): none passes, none affects the next program's verdict, and none leaves anything behind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

import codeparrot
import codeparrot.eval
from codeparrot.eval.sandbox.executor import Executor

ORDINARY_USER = 12345
TRIAL = Path(__file__).with_name("attack_trial.py")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that an ordinary user can import, with the trial beside it."""
    folder = tmp_path_factory.mktemp("site")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(codeparrot.__file__).parent, folder / "codeparrot", ignore=skip)
    shutil.copytree(Path(codeparrot.eval.__file__).parent, folder / "codeparrot" / "eval", ignore=skip)
    for file in (TRIAL, TRIAL.with_name("attacks.txt")):
        shutil.copy(file, folder)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return folder


def as_ordinary_user(site: Path, markers: Path) -> list[str]:
    """Return a command line that gives another user this Python and the package, wherever they are."""
    prefix = Path(sys.base_prefix)
    python = prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    shown = ["--ro-bind", str(site), "/mnt/site", "--bind", str(markers), "/mnt/markers"]
    if prefix != Path("/usr"):
        shown += ["--ro-bind", str(prefix), "/mnt/python"]
        python = Path("/mnt/python") / python.relative_to(prefix)
    identity = ["--reuid", str(ORDINARY_USER), "--regid", str(ORDINARY_USER), "--clear-groups"]
    return [
        *["bwrap", "--dev-bind", "/", "/", "--tmpfs", "/mnt", *shown, "--cap-add", "ALL", "--chdir", "/mnt/site", "--"],
        *["setpriv", *identity, str(python), "-s", "-S", "-P", "-c"],
        "import sys, runpy; sys.path.insert(0, '/mnt/site'); sys.argv = ['', '/mnt/markers'];"
        "runpy.run_path('/mnt/site/attack_trial.py', run_name='__main__')",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("user", ["root", "ordinary user"])
def test_no_attack_passes_or_reaches_the_next_program_or_leaves_anything(
    user: str, site: Path, tmp_path: Path, executor: Executor
) -> None:
    markers = tmp_path / "markers"
    markers.mkdir()
    markers.chmod(0o777)
    command = [sys.executable, str(site / TRIAL.name), str(markers)]
    if (os.getuid() == 0) != (user == "root"):
        if os.getuid() != 0:
            pytest.skip("only root can run it as root")
        command = as_ordinary_user(site, markers)
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    assert (found["uid"] == 0) == (user == "root")
    attacks = [verdict for verdict in found["verdicts"] if verdict[0] != "witness"]
    assert len({title.partition("[")[0] for title, *_ in attacks}) >= 60
    assert [(title, detail) for title, outcome, detail, _ in attacks if outcome == "passed" or "REACHED" in detail] == []
    # Attacks ran against the weaker way too.
    assert sum(weak for *_, weak in attacks) >= 7
    disturbed = [
        (verdict, before) for verdict, before in zip(found["verdicts"], found["before"], strict=True) if verdict[0] == "witness"
    ]
    assert [(verdict, before) for verdict, before in disturbed if verdict[1] != "passed"] == []
    assert found["left"] == {"processes": [], "marker": False, "calls": 0, "memory": []}


def test_nothing_is_left_of_a_harness_that_is_killed(executor: Executor) -> None:
    script = (
        "import sys\n"
        "from codeparrot.eval.sandbox.executor import Executor, Limits\n"
        "from codeparrot.eval.problems.sets import Problem\n"
        "problem = Problem('p', 'def f():\\n', 'f', 'def check(candidate):\\n    candidate()\\n')\n"
        "with Executor(Limits(cpu_seconds=300, wall_seconds=300), 2) as executor:\n"
        "    print('ready', flush=True)\n"
        "    list(executor.judge([(problem, '    while True: pass\\n'), (problem, '    import time; time.sleep(300)\\n')]))\n"
    )
    harness = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None and harness.stdout.readline() == "ready\n"
    inside = psutil.Process(harness.pid).children(recursive=True)
    assert len(inside) >= 4
    harness.kill()
    harness.wait()
    _, alive = psutil.wait_procs(inside, timeout=60)
    assert alive == []

"""All that a sandbox has to say is heard, and a verdict is a function of the program: nothing that is lost decides it."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.sandbox import worker
from codeparrot.eval.sandbox.bubblewrap import next_packet
from codeparrot.eval.sandbox.executor import Executor, Limits, Outcome, Verdict
from codeparrot.eval.sandbox.inside import zygote
from codeparrot.eval.sandbox.inside.codec import decode, encode
from codeparrot.eval.sandbox.scheduling import LOSSES

DOUBLE = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate([1]) == [1, 1]\n"


def problem(solution: str = "", test: str = DOUBLE) -> Problem:
    return Problem("double", "def f(x):\n", "f", test, solution)


def judged(executor: Executor, *jobs: tuple[Problem, str]) -> list[Verdict]:
    return [verdict for _, verdict in sorted(executor.judge(jobs))]


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@pytest.mark.parametrize("unread", [0, 1, 2])
def test_what_a_side_sent_before_it_closed_is_read_to_the_end(unread: int) -> None:
    ours, theirs = pair()
    for number in range(unread):
        ours.send(b"unread %d" % number)
    theirs.send(b"first")
    theirs.send(b"second")
    theirs.close()
    with ours:
        assert [next_packet(ours) for _ in range(4)] == [b"first", b"second", b"", b""]


def test_a_zygote_that_reported_something_left_reads_on_until_the_harness_has_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    report = (0, 0.5, "", "files")
    monkeypatch.setattr(zygote, "_run", lambda *_: report)
    ours, theirs = pair()
    with theirs:
        serving = threading.Thread(target=zygote._serve, args=(theirs, True, 4096))
        with ours:
            ours.send(encode(("run", "program", 1.0), 4096))
            serving.start()
            assert decode(ours.recv(4096)) == ("done", *report)
            ours.send(encode(("stop", 0.0), 4096))  # it crossed with the report
            serving.join(0.2)
            assert serving.is_alive()
        serving.join(10)
        assert not serving.is_alive()


def test_right_programs_that_touch_their_scratch_folder_pass(executor: Executor) -> None:
    body = "    import tempfile\n    with tempfile.TemporaryFile('w+') as file:\n        file.write('x')\n    return x * 2\n"
    verdicts = judged(executor, *((problem(body), f"{body}# {number}\n") for number in range(12)))
    assert [verdict for verdict in verdicts if not verdict.passed or verdict.weak] == []


def test_a_process_that_ends_itself_by_the_signal_that_stops_others_was_killed(executor: Executor) -> None:
    kills = "    import os\n    os.kill(os.getpid(), 9)\n"
    closes = "    import os\n    os.closerange(3, 60)\n    while True: pass\n"
    verdicts = judged(executor, *((problem(), kills) for _ in range(8)), (problem(), closes))
    assert {(verdict.outcome, verdict.detail) for verdict in verdicts[:-1]} == {
        (Outcome.KILLED, "the program's process ended by SIGKILL")
    }
    assert (verdicts[-1].outcome, verdicts[-1].detail) == (Outcome.ERROR, "the program's process closed its channel")


@contextmanager
def unsafe() -> Iterator[Executor]:
    """Outside a sandbox, a program can end the process that reports on it."""
    with Executor(Limits(), 2, unsafe=True) as executor:
        yield executor


def ending_its_sandbox(runs: int, marks: Path) -> str:
    """Return a right program whose first runs end their sandbox."""
    return (
        "    import os, signal\n"
        f"    with open({str(marks)!r}, 'a+') as file:\n"
        "        file.write('x')\n        file.flush()\n        file.seek(0)\n"
        f"        if len(file.read()) <= {runs}:\n            os.kill(os.getppid(), signal.SIGKILL)\n"
        "    return x * 2\n"
    )


def test_a_program_whose_sandbox_ended_runs_again(tmp_path: Path) -> None:
    with unsafe() as executor:
        lost, *others = judged(
            executor,
            (problem(), ending_its_sandbox(LOSSES - 1, tmp_path / "a")),
            *((problem(), f"    return x * 2  # {number}\n") for number in range(8)),
        )
    assert lost.passed and all(verdict.passed for verdict in others)


def test_a_lost_run_of_a_reference_solution_does_not_make_its_problem_weak(tmp_path: Path) -> None:
    solution = ending_its_sandbox(1, tmp_path / "a")
    with unsafe() as executor:
        (verdict,) = judged(executor, (problem(solution), "    return x * 2\n"))
        assert verdict.passed and not verdict.weak and list(executor.weak.values()) == [False]


def test_a_program_that_always_ends_its_sandbox_is_killed(tmp_path: Path) -> None:
    with unsafe() as executor:
        lost, other = judged(executor, (problem(), ending_its_sandbox(99, tmp_path / "a")), (problem(), "    return x * 2\n"))
    assert (lost.outcome, lost.detail) == (Outcome.KILLED, f"its sandbox ended, in each of {LOSSES} runs")
    assert other.passed


def test_a_test_whose_sandbox_ended_runs_again(tmp_path: Path) -> None:
    test = (
        f"def check(candidate):\n    def f(x):\n{ending_its_sandbox(2, tmp_path / 'a').replace('    ', '        ')}    f(1)\n"
    )
    with unsafe() as executor:
        (verdict,) = judged(executor, (problem(test=test + "    assert candidate(2) == 4\n"), "    return x * 2\n"))
    assert verdict.passed


@pytest.mark.parametrize("failures", [2, 99])
def test_a_sandbox_that_fails_to_start_is_started_again_a_few_times(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started = worker.Sandbox
    count = 0

    def failing(*arguments: object) -> object:
        nonlocal count
        count += 1
        sandbox = started(*arguments)  # type: ignore[arg-type]
        if 3 <= count < 3 + failures:
            sandbox.kill()
        return sandbox

    monkeypatch.setattr(worker, "Sandbox", failing)
    with Executor(Limits(), 1, unsafe=True) as executor:
        jobs = ((problem(), f"    open('x', 'w')\n    return x * 2  # {number}\n") for number in range(2))
        if failures == 2:
            assert all(verdict.passed for verdict in judged(executor, *jobs))
        else:
            with pytest.raises(CodeparrotError, match="the sandbox does not start"):
                judged(executor, *jobs)


def test_programs_and_tests_that_draw_lots_draw_the_same_each_time(executor: Executor) -> None:
    draws = (
        "    import random\n    own, other = random.Random(), random.Random(None)\n    assert own.random() != other.random()\n"
        "    drawn = random.random() + random.Random(x).random() + own.random()\n    random.seed()\n    own.seed()\n"
        "    return drawn + random.random() + own.random()\n"
    )
    test = "import random\ndef check(candidate):\n    assert (candidate(1), random.random()) == 0\n"
    shows = "def check(candidate):\n    import random\n    raise ValueError(candidate(1), random.random())\n"
    for source in (test.replace("assert ", "raise ValueError").replace(" == 0", ""), shows):
        details = {each.detail for each in judged(executor, *((problem(test=source), draws + f"# {n}\n") for n in range(6)))}
        assert len(details) == 1, details


def test_a_port_that_an_earlier_program_used_is_refused_to_no_other() -> None:
    body = (
        "    import socket\n    server = socket.socket()\n    server.bind(('127.0.0.1', 8123))\n    server.listen()\n"
        "    client = socket.create_connection(('127.0.0.1', 8123))\n    there, _ = server.accept()\n    there.close()\n"
        "    client.recv(1)\n    client.close()\n    server.close()\n    return x * 2\n"
    )
    once = "def check(candidate):\n    assert candidate(2) == 4\n"
    with Executor(num_workers=1) as executor:
        verdicts = judged(executor, *((problem(test=once), f"{body}# {number}\n") for number in range(3)))
    assert [verdict for verdict in verdicts if not verdict.passed] == []


SHAPES = {
    "plain": "    return x * 2\n",
    "scratch file": "    import tempfile\n    with tempfile.TemporaryFile('w+') as file:\n        file.write('a')\n"
    "    return x * 2\n",
    "files left": "    for n in range(3):\n        open(f'left{n}', 'w').write('a' * 999)\n    return x * 2\n",
    "thread": "    import threading\n    r = []\n    t = threading.Thread(target=lambda: r.append(x * 2))\n"
    "    t.start(); t.join()\n    return r[0]\n",
    "thread left": "    import threading, time\n    threading.Thread(target=time.sleep, args=(99,)).start()\n"
    "    return x * 2\n",
    "child": "    import os\n    pid = os.fork()\n    if not pid: os._exit(3)\n    os.waitpid(pid, 0)\n    return x * 2\n",
    "child left": "    import os, time\n    if not os.fork():\n        time.sleep(99)\n    return x * 2\n",
    "output": "    print('a' * 200000, flush=True)\n    return x * 2\n",
    "large value": "    y = [list(range(20000)) for _ in range(5)]\n    return x * 2 if y else None\n",
    "recursion": "    def g(n): return 0 if n == 0 else g(n - 1)\n    return x * 2 + (g(700) if x == 2 else [])\n",
    "event loop": "    import asyncio\n    async def g(): return x * 2\n    return asyncio.run(g())\n",
    "leaves at the end": "    import atexit, os\n    if x != 2: atexit.register(os._exit, 5)\n    return x * 2\n",
}


RESTARTS = ("scratch file", "files left", "child left")
"""Each costs a sandbox, thirty times a program; of 12 such right programs, 2 were killed before."""


@pytest.mark.slow
def test_2000_right_programs_pass_beside_four_busy_processes() -> None:
    """Each problem has its solution as the reference, so that a way decided by chance would show too."""
    assert len(SHAPES) == 12
    problems = {name: Problem(name, "def f(x):\n", "f", DOUBLE, body) for name, body in SHAPES.items()}
    others = [name for name in SHAPES if name not in RESTARTS]
    names = [RESTARTS[number // 8 % 3] if number % 8 == 0 else others[number % 9] for number in range(2000)]
    assert len(set(names)) == 12
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        with Executor() as executor:
            jobs = ((problems[name], f"{SHAPES[name]}# {number}\n") for number, name in enumerate(names))
            found = dict(executor.judge(jobs))
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert [(names[index], verdict) for index, verdict in found.items() if not verdict.passed or verdict.weak] == []
    assert len(found) == 2000

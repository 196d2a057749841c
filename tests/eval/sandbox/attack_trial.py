"""Runs attacks.txt against one pool and prints each result as JSON; the tests run it as different users.

    python attack_trial.py MARKER_FOLDER [NAME]

After each attack a witness runs in the same worker. It passes only if it finds everything as the first program did.
"""

import ctypes
import json
import os
import secrets
import socket
import sys
from pathlib import Path

from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.sandbox.bubblewrap import NOBODY
from codeparrot.eval.sandbox.executor import Executor, Limits

PR_SET_CHILD_SUBREAPER = 36
LIMITS = Limits(cpu_seconds=0.3, wall_seconds=1.0, memory_bytes=1 << 29)

PROBLEM = Problem(
    "secret",
    "import sys\n\n",
    "answer",
    # No program can know the answers: one that passes was not asked, or stole them.
    "SECRETS = " + repr([f"secret-{secrets.token_hex(16)}" for _ in range(3)]) + "\n\n"
    "def check(candidate):\n"
    "    try:\n"
    "        candidate(0)\n"
    "    except Exception:\n"
    "        pass\n"
    "    assert all(map(lambda x: candidate(x, [x]) == SECRETS[x], range(3)))\n"
    "    for x, expected in enumerate(SECRETS):\n"
    "        assert candidate(x) == expected\n",
)
WEAK = Problem(
    "weak",
    "import sys\n\n",
    "answer",
    "def check(candidate):\n    assert candidate(2, lambda x: x + 40) == 42\n",
    "def answer(x, function):\n    return function(x)\n",
)
WITNESS = Problem(
    "witness",
    "",
    "answer",
    "def check(candidate):\n    assert candidate(2) == 3\n    assert candidate([]) == []\n",
    """
import ctypes, gc, mmap, os, resource, socket, sys, threading
assert os.listdir("/tmp") == [], "files"
assert os.stat("/tmp").st_mode & 0o777 == 0o755 and os.listxattr("/tmp") == [], "scratch folder"
try:
    os.kill(-1, 0)
except ProcessLookupError:
    pass
else:
    raise AssertionError("processes")
for name, value in {RESOURCES}.items():
    assert resource.getrlimit(name) == (value, value), (name, resource.getrlimit(name))
assert os.getpriority(os.PRIO_PROCESS, 0) == 0 and os.sched_getscheduler(0) == os.SCHED_OTHER
assert [fd for fd in range(256) if os.path.exists(f"/dev/fd/{fd}")] == []
libc = ctypes.CDLL(None)
assert libc.shmget(1234, 4096, 0) == -1 and libc.semget(1234, 1, 0) == -1 and libc.msgget(1234, 0) == -1, "System V"
listener = socket.socket(); listener.bind(("127.0.0.1", 8765))
taken = socket.socket(socket.AF_UNIX); taken.bind("\\0taken")
thread = threading.Thread(target=len, args=("",)); thread.start(); thread.join()
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
held = mmap.mmap(-1, 1 << 27)  # not touched: the limit is one of address space, and some machines give pages slowly
assert "program" not in sys.modules or sys.modules["program"].__dict__ is globals()

def answer(x):
    return x + 1 if type(x) is int else x
""".replace(
        "{RESOURCES}",
        repr({9: LIMITS.memory_bytes, 7: LIMITS.open_files, 6: LIMITS.processes + 1, 1: LIMITS.file_bytes, 4: 0, 12: 0}),
    ),
)


def attacks(port: int, name: str, marker: str) -> list[tuple[str, str]]:
    """Return the title and program of each attack."""
    text = Path(__file__).with_name("attacks.txt").read_text(encoding="utf-8")
    for word, value in {"HOSTPORT": port, "HOSTSOCKET": name, "HOSTADDRESS": own_address(), "HOSTMARK": marker}.items():
        text = text.replace(word, str(value))
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in text.split("### ")[1:]]


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def children() -> list[int]:
    """Return the processes that descend from this one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def kept_memory() -> set[str]:
    """Return the shared memory that belongs to the user that programs run as."""
    user = os.getuid() or NOBODY
    files = {str(path) for place in ("/dev/shm", "/dev/mqueue") for path in Path(place).glob("*") if path.stat().st_uid == user}
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return files | {f"System V {row[1]}" for row in rows if row[7] == str(user)}


def main(folder: str, only: str = "") -> None:
    # A process that loses its parent becomes a child of this one.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    marker = Path(folder) / "marker"
    name = f"codeparrot-{secrets.token_hex(8)}"
    before = kept_memory()
    with socket.create_server(("0.0.0.0", 0)) as listener, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        chosen = [item for item in attacks(listener.getsockname()[1], name, str(marker)) if only in item[0]]
        jobs: list[tuple[str, Problem, str]] = [("witness", WITNESS, WITNESS.canonical_solution)]
        for title, program in chosen:
            kinds = [PROBLEM, WEAK] if "[weak]" in title else [PROBLEM]
            for problem in kinds:
                jobs.append((f"{title} {problem.task_id}", problem, program))
                # A completion of its own: one equal to the reference would not run again.
                jobs.append(("witness", WITNESS, f"{WITNESS.canonical_solution}# after {title!r}\n"))
        with Executor(LIMITS, num_workers=1) as executor:
            verdicts = dict(executor.judge((problem, program) for _, problem, program in jobs))
        listener.settimeout(0)
        abstract.settimeout(0)
        calls = 0
        for server in (listener, abstract):
            try:
                server.accept()
                calls += 1
            except BlockingIOError:
                pass
    lines = [(jobs[index][0], verdict.outcome, verdict.detail, verdict.weak) for index, verdict in sorted(verdicts.items())]
    left = {"processes": children(), "marker": marker.exists(), "calls": calls, "memory": sorted(kept_memory() - before)}
    before_each = ["", *(title for title, _, _ in jobs[:-1])]
    print(json.dumps({"verdicts": lines, "left": left, "uid": os.getuid(), "before": before_each}))


if __name__ == "__main__":
    main(*sys.argv[1:])

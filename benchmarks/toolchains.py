"""Programs a second in the sandbox in JavaScript and C++, and what bounds it: the project's own problems, several copies each.

    python -m benchmarks.toolchains [WORKERS] [COPIES]

Prints a JSON object a language. `build_cpu_seconds` is one program's compilation alone, outside a sandbox, with the standard
headers compiled before (as the sandbox does) and without; `idle_cpu_seconds` is an interpreter or a program that does nothing.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codeparrot.eval.problems.problem import Translated
from codeparrot.eval.problems.sets import load_problems
from codeparrot.eval.sandbox.executor import Executor
from codeparrot.eval.sandbox.inside.toolchain import HARNESS
from codeparrot.eval.sandbox.toolchains import language

ROUNDS = 3


def judged(name: str, num_workers: int, copies: int) -> dict[str, Any]:
    problems = load_problems(name)
    languages = {problem.language for problem in problems if isinstance(problem, Translated)}
    jobs = [(problem, problem.canonical_solution) for problem in problems for _ in range(copies)]
    start = time.perf_counter()
    with Executor(num_workers=num_workers, languages=languages) as executor:
        executor.weak.update((problem, False) for problem in problems)
        started = time.perf_counter()
        passed = sum(verdict.passed and not verdict.weak for _, verdict in executor.judge(jobs))
        seconds = time.perf_counter() - started
    found = {"programs": len(jobs), "passed": passed, "programs_per_second": len(jobs) / seconds}
    return {**found, "start_seconds": started - start, "toolchain": language(next(iter(languages))).find().version}


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the least CPU time that child processes take for a piece of work, of a few rounds."""
    times = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        work()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def builds() -> dict[str, float]:
    """Return the CPU time of one C++ program's compilation, with the headers compiled before and without."""
    tools = language("c++").find()
    problem = load_problems("codeparrot-cpp").problems[0]
    assert isinstance(problem, Translated) and tools.language.program is not None and tools.language.prepare is not None
    parts = tools.language.program(tools, problem, problem.canonical_solution)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for key, place in (("without", str(HARNESS)), ("with", folder)):
            if key == "with":
                tools.language.prepare(tools, Path(folder))
            command = [word.replace("/headers", place) for word in parts.build]
            build = lambda command=command: subprocess.run(command, input=parts.source, text=True, cwd=folder, check=True)  # noqa: E731
            found[f"build_cpu_seconds_{key}_headers"] = cpu_seconds(build)
        found["idle_cpu_seconds"] = cpu_seconds(lambda: subprocess.run(["./program"], cwd=folder, check=False))
    return found


def main() -> None:
    num_workers, copies = map(int, (*sys.argv[1:], *("2", "4")[len(sys.argv) - 1 :]))
    node = language("javascript").find().paths["node"]
    idle = {"idle_cpu_seconds": cpu_seconds(lambda: subprocess.run([node, "-e", "0"], check=True))}
    for name, more in (("codeparrot-javascript", idle), ("codeparrot-cpp", builds())):
        print(json.dumps({"problems": name, "workers": num_workers, **judged(name, num_workers, copies), **more}))


if __name__ == "__main__":
    main()

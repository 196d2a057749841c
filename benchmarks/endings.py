"""What it costs to find the end of a completion while its tokens arrive: tokens/s of that check alone, on one core.

    python -m benchmarks.endings

A token is 4 characters here. The texts are this repository's own files, put into one function that does not end, so that all
of a text is looked at; each is repeated up to the length. "From the start" looks at all of the text again for each token: what
the check costs where nothing is kept between them.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.common import report
from codeparrot.generation.blocks import Block
from codeparrot.generation.functions import LOOK_BACK, Function

ROOT = Path(__file__).resolve().parent.parent
PIECE = 4
LENGTHS = 500, 4_000, 32_000
FILES = {
    "python": ("codeparrot/generation/engine.py", "def f():"),
    "c": ("benchmarks/allocations.c", "void f() {"),
    "javascript": ("codeparrot/serve/page/page.js", "function f() {"),
    "rust": ("benchmarks/allocations.c", "fn f() {"),
    "ruby": ("codeparrot/languages/stops.py", "def f"),
}
REPEATS = 5


def indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())


def pieces_of(text: str, length: int) -> list[str]:
    """Return so many tokens of a text, repeated."""
    text = text * (1 + length * PIECE // len(text))
    return [text[number * PIECE : (number + 1) * PIECE] for number in range(length)]


def rate(work: Callable[[], object], length: int) -> float:
    """Return the median tokens/s."""
    times = []
    for _ in range(REPEATS):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return length / statistics.median(times)


def fed(ending: Block | Function, pieces: list[str]) -> None:
    scan = ending.scan()
    for piece in pieces:
        scan.feed(piece)
    assert scan.end is None, "all of the text must be looked at"


def from_the_start(ending: Block | Function, pieces: list[str]) -> None:
    text = ""
    for piece in pieces:
        text += piece
        ending.end(text)


def measure(language: str, file: str, header: str) -> dict[str, str]:
    """Return the figures of a language."""
    facts = {}
    text = "\n" + indented((ROOT / file).read_text(encoding="utf-8"))
    function, block = Function.at(header, language), Block.at(header)
    for length in LENGTHS:
        pieces = pieces_of(text, length)
        facts[f"{language}, function, {length:,} tokens"] = rate(partial(fed, function, pieces), length)
        if language == "python":
            facts[f"any language, block, {length:,} tokens"] = rate(partial(fed, block, pieces), length)
        if language == "python" and length < LENGTHS[-1]:
            again = rate(partial(from_the_start, block, pieces), length)
            facts[f"any language, block, {length:,} tokens, from the start"] = again
    found = {name: f"{value:,.0f} tokens/s" for name, value in facts.items()}
    seconds = 1 / rate(partial(Function.at, text * (1 + LOOK_BACK // len(text)), language), 1)
    return found | {f"{language}, once for {LOOK_BACK:,} characters of a prompt": f"{1000 * seconds:.1f} ms"}


def main() -> None:
    facts: dict[str, str] = {}
    for language, (file, header) in FILES.items():
        facts |= measure(language, file, header)
    report("endings", [], facts)


if __name__ == "__main__":
    main()

"""The filters of --recipe stack on files of many languages, and of Python alone against another version of the package.

- Mixed: files a second and core, reading and detecting the language left out. The parser's process counts: its seconds of the
  processor are added to those of the process that judges. Files are drawn evenly from the languages with a syntax that the
  folders in CODEPARROT_BENCHMARK_SOURCES (separated by colons) hold, and Python's from this environment.
- Python: the same files are judged by this version and by the one in CODEPARROT_BENCHMARK_PEER (a folder to import from, as
  build/imports of another checkout), in turns; without it, that part is left out.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import time
from collections import Counter, defaultdict
from pathlib import Path

import psutil

from benchmarks.common import Ratio, report
from codeparrot.corpus.decode import decode
from codeparrot.corpus.filters.rules import first_failing
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.languages.detect import language_of
from codeparrot.languages.parsing import _parser
from codeparrot.languages.syntax import SYNTAXES

EACH, PYTHON_FILES, TURNS = 150, 3000, 9
STACK = Thresholds(min_comment_fraction=0.01, max_comment_fraction=0.8, check_syntax=True, max_non_ascii_fraction=0.5)
SMALLEST, LARGEST = 1024, 1024 * 1024

JUDGE = """
import json, sys, time
from codeparrot.corpus.decode import decode
from codeparrot.corpus.filters.rules import first_failing
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds
texts = [decode(open(name, "rb").read()) for name in json.load(sys.stdin)]
limits = Thresholds()
first_failing(Text(texts[0]), limits)
start = time.process_time()
for each in texts:
    first_failing(Text(each), limits)
print(time.process_time() - start)
"""


def sources() -> dict[str, list[tuple[str, str, str]]]:
    """Return language, path and text of files, at most EACH of a language."""
    folders = [each for each in os.environ.get("CODEPARROT_BENCHMARK_SOURCES", "").split(":") if each]
    assert folders, "CODEPARROT_BENCHMARK_SOURCES names folders with sources of several languages"
    files = [file for folder in folders for file in Path(folder).rglob("*") if file.is_file() and not file.is_symlink()]
    random.Random(0).shuffle(files)
    found: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for file in [*files, *python_files()[: 4 * EACH]]:
        if SMALLEST <= file.stat().st_size < LARGEST and (content := decode(file.read_bytes())):
            language = language_of(str(file), content)
            if language and (language in SYNTAXES or language == "python") and len(found[language]) < EACH:
                found[language].append((language, str(file), content))
    return found


def python_files() -> list[Path]:
    files = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")) + sorted(Path(sysconfig.get_path("purelib")).rglob("*.py"))
    random.Random(0).shuffle(files)
    return [each for each in files if SMALLEST <= each.stat().st_size < LARGEST and decode(each.read_bytes())]


def mixed(files: list[tuple[str, str, str]]) -> tuple[float, Counter[str]]:
    """Return the seconds of the processor, the parser's process included, and what removed how many files."""
    first_failing(Text("int a;\n" * 200, "c"), STACK)
    parser = _parser(os.getpid())
    before = time.process_time() + sum(psutil.Process(parser.pid).cpu_times()[:2])
    removed = Counter(first_failing(Text(content, language, path), STACK) or "kept" for language, path, content in files)
    assert _parser(os.getpid()) is parser, "the parser died, and its seconds with it"
    return time.process_time() + sum(psutil.Process(parser.pid).cpu_times()[:2]) - before, removed


def judged_in(imports: str, names: list[str]) -> float:
    environment = {**os.environ, "PYTHONPATH": imports, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", JUDGE]
    done = subprocess.run(command, input=json.dumps(names), env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    found = sources()
    files = [each for group in found.values() for each in group]
    random.Random(1).shuffle(files)
    times, removed = zip(*(mixed(files) for _ in range(3)), strict=True)
    size = sum(len(content.encode()) for *_, content in files)
    ratios = [Ratio("mixed, filters of --recipe stack, a core", len(files) / min(times), 750, "files/s", 1.0)]
    facts: dict[str, object] = {
        "files": f"{len(files):,} of {len(found)} languages, {size / len(files):,.0f} bytes on average",
        "text": f"{size / min(times) / 1e6:.1f} MB/s",
        "removed": dict(removed[0].most_common()),
        "languages": {name: len(each) for name, each in found.items()},
    }
    if peer := os.environ.get("CODEPARROT_BENCHMARK_PEER"):
        names = [str(each) for each in python_files()[:PYTHON_FILES]]
        ours = os.environ.get("PYTHONPATH", "")
        pairs = [(judged_in(ours, names), judged_in(peer, names)) for _ in range(TURNS)]
        facts["Python alone"] = f"{len(names) / min(mine for mine, _ in pairs):,.0f} files/s a core, by the default filters"
        change = statistics.median(mine / theirs for mine, theirs in pairs)
        ratios.append(Ratio("Python, seconds of this version / of the other", change, 1.0, "", 1.03, higher_is_better=False))
    report("Filters", ratios, facts)


if __name__ == "__main__":
    main()

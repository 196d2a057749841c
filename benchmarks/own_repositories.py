"""One's own repositories: what a corpus and a tokenizer of 1, 10 and 100 MB of Python take, and what is kept.

Installed packages stand for repositories: each becomes one of git. Packages larger than a third of the size are passed over.
"""

import random
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

from benchmarks.common import DATA, codeparrot, report

SIZES_MB = (1, 10, 100)
FOLDER = DATA / "own_repositories"
NAMED = ["-c", "user.name=a", "-c", "user.email=a@example.org"]


def repositories(folder: Path, size: float) -> int:
    """Make repositories of about `size` bytes of Python in all; return how many there are."""
    packages = [path for path in sorted(Path(sysconfig.get_path("purelib")).iterdir()) if (path / "__init__.py").is_file()]
    random.Random(1).shuffle(packages)
    found = total = 0
    for package in packages:
        files = sorted(package.rglob("*.py"))
        num_bytes = sum(file.stat().st_size for file in files)
        if total >= size or num_bytes > size / 3:
            continue
        place = folder / package.name
        for file in files:
            target = place / file.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        for words in (["init", "-q"], ["add", "-A", "-f"], [*NAMED, "commit", "-qm", "all"]):
            subprocess.run(["git", *words], cwd=place, check=True)
        found, total = found + 1, total + num_bytes
    return found


def main() -> None:
    facts: dict[str, object] = {}
    for megabytes in SIZES_MB:
        shutil.rmtree(FOLDER, ignore_errors=True)
        count = repositories(FOLDER / "git", 1e6 * megabytes)
        start = time.perf_counter()
        corpus = codeparrot(
            *(
                "corpus",
                "build",
                "--source",
                f"git:{FOLDER / 'git'}",
                "--valid_fraction",
                "0.1",
                "--output",
                str(FOLDER / "corpus"),
            )
        )
        built = time.perf_counter()
        codeparrot(
            *("tokenizer", "train", "--corpus", str(FOLDER / "corpus"), "--vocab_size", "4096"),
            *("--output", str(FOLDER / "tokenizer")),
        )
        end = time.perf_counter()
        facts[f"{megabytes} MB, {count} repositories"] = (
            f"{corpus['bytes'] / 1e6:.2f} MB kept, corpus {built - start:.0f} s, tokenizer {end - built:.0f} s"
        )
    shutil.rmtree(FOLDER)
    report("one's own repositories: corpus and tokenizer", [], facts)


if __name__ == "__main__":
    main()

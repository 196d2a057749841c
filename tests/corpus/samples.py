"""Raw material for tests: folders of repositories made from real standard library modules. Also reads a corpus back."""

import hashlib
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codeparrot.corpus.build import build
from codeparrot.corpus.decode import decode
from codeparrot.corpus.filters.rules import first_failing
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds

COMMAND = [sys.executable, "-c", "from codeparrot.cli import entry; entry()"]
"""The `codeparrot` command of this interpreter."""

LENIENT = Thresholds(min_size=0, min_equals_signs=0, no_keyword_chance=0, config_or_test_chance=0)
"""Settings for texts that are not programs."""

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


def modules(count: int) -> list[bytes]:
    """Return modules of the standard library that pass every filter, in a fixed order."""
    files = (file.read_bytes() for file in sorted(STANDARD_LIBRARY.glob("*.py")))
    suitable = [
        text for text in files if 2000 < len(text) < 100_000 and first_failing(Text(decode(text) or ""), Thresholds()) is None
    ]
    assert len(suitable) >= count
    return suitable[:count]


def write_repositories(root: Path, repositories: int = 10, files: int = 6) -> Path:
    """Write `files` modules into each of `repositories` folders."""
    for index, text in enumerate(modules(repositories * files)):
        file = root / f"repo{index % repositories}" / "src" / f"module{index}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
    return root


def make(source: Any, output: Path, **settings: Any) -> dict[str, Any]:
    """Build a corpus in this process and return its statistics."""
    sources = [str(each) for each in (source if isinstance(source, list) else [source])]
    return build(sources, str(output), **{"workers": 1, **settings}).data


def read(corpus: Path, split: str = "*") -> list[dict[str, Any]]:
    """Return the documents of a corpus in order."""
    tables = [pq.read_table(file) for file in sorted(corpus.glob(f"{split}-*.parquet"))]
    return pa.concat_tables(tables).to_pylist() if tables else []


def digests(corpus: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a corpus, its folders included."""
    files = sorted(file for file in corpus.rglob("*") if file.is_file())
    return {str(file.relative_to(corpus)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

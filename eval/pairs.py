"""Functions and their descriptions, to evaluate on: of `corpus pairs`, or in the format of CodeSearchNet.

CodeSearchNet (arXiv:1909.09436) has JSON lines with `code`, `docstring` and `language` in files or folders that name their
splits. Its Python code still has the docstring in it, which is taken out. Functions that Python 3 does not parse, such as those
of Python 2, would keep theirs: they are left out, and counted. In other languages the description is above the code.
"""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.corpus.definitions import definitions
from codeparrot.corpus.sentences import first_sentence
from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address, last_part
from codeparrot.result import say
from codeparrot.stream.order import draw
from codeparrot.stream.readers import ranges
from codeparrot.stream.readers.folder import PARQUET, NoSplit, find_data
from codeparrot.text_files import json_lines

PYTHON = "python"
FETCHED_BYTES = 1 << 23
"""In one request, of a file at an address."""
_COLUMNS = ("repo_name", "path", "content", "name", "signature", "docstring", "summary")


class Pair(NamedTuple):
    task_id: str
    """Unique in its set."""
    code: str
    """Without the docstring."""
    summary: str
    """First sentence of the docstring, in one line."""
    name: str
    """Of the function, with the classes around it."""
    language: str = PYTHON


class Loaded(NamedTuple):
    pairs: list[Pair]
    num_unreadable: int
    """Functions that were left out, of those read: they are no Python 3, so their docstrings cannot be taken out."""


def load_pairs(name: str, split: str, limit: int = 0, seed: int | None = None) -> Loaded:
    """Return the pairs of a split. How many were left out is also said on stderr.

    Args:
        name: a folder that `corpus pairs` wrote; or a folder or JSON-lines file in CodeSearchNet's format.
        split: train, valid or test; a file that names no split is all of each.
        limit: at most so many; 0: all.
        seed: the limit is drawn from it; None: the first ones are taken, and no more is read.

    Raises:
        CodeparrotError: there are none, or a line is no pair.
    """
    unreadable: list[str] = []
    read = (pair for file in find_data(name).of(split) for pair in _read(file, unreadable))
    found = (pair for pair in read if pair.code.strip() and pair.summary)
    if seed is None:
        chosen = list(islice(found, limit or None))
    else:
        every = list(found)
        drawn = sorted(range(len(every)), key=lambda number: (draw(1 << 62, seed, "pair", every[number].task_id), number))
        chosen = [every[number] for number in sorted(drawn[: limit or None])]
    if not chosen:
        old = f"; {len(unreadable):,} are no Python 3" if unreadable else ""
        raise CodeparrotError(f"{name} has no pairs of code and description in its {split} split{old}")
    if unreadable:
        say(f"{name}: {len(unreadable):,} functions of {split} are left out: no Python 3, so the docstrings would stay in them")
    numbers: dict[str, int] = {}
    distinct = []
    for pair in chosen:
        numbers[pair.task_id] = numbers.get(pair.task_id, 0) + 1
        number = numbers[pair.task_id]
        distinct.append(pair if number == 1 else pair._replace(task_id=f"{pair.task_id}#{number}"))
    return Loaded(distinct, len(unreadable))


def has_split(name: str, split: str) -> bool:
    """Whether some files belong to this split and to no other."""
    try:
        return find_data(name).is_divided and bool(find_data(name).of(split))
    except NoSplit:
        return False


def _read(file: str, unreadable: list[str]) -> Iterator[Pair]:
    if not is_address(file):
        yield from _of_file(Path(file), unreadable)
        return
    with tempfile.TemporaryDirectory(prefix="codeparrot-") as folder:
        copy = Path(folder) / last_part(file)
        with copy.open("wb") as here, ranges.opened(file, FETCHED_BYTES, follows=True) as there:
            shutil.copyfileobj(there, here, FETCHED_BYTES)
        yield from _of_file(copy, unreadable)


def _of_file(file: Path, unreadable: list[str]) -> Iterator[Pair]:
    return _of_parquet(file) if file.name.endswith(PARQUET) else _of_json_lines(file, unreadable)


def _of_parquet(file: Path) -> Iterator[Pair]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            if missing := [column for column in _COLUMNS if column not in opened.schema_arrow.names]:
                remedy = "name a folder that `codeparrot corpus pairs` wrote, or JSON lines with code, docstring and language"
                raise CodeparrotError(f"{file} holds no pairs (it has no column {', '.join(missing)}); {remedy}")
            for batch in opened.iter_batches(256, columns=list(_COLUMNS)):
                for row in batch.to_pylist():
                    task = f"{row['repo_name']}/{row['path']}:{row['name']}"
                    yield Pair(task, row["content"], row["summary"], row["name"])
    except (OSError, pa.ArrowException) as error:
        raise CodeparrotError(f"{file} cannot be read ({' '.join(str(error).split())}); make the pairs again") from error


def _of_json_lines(file: Path, unreadable: list[str]) -> Iterator[Pair]:
    """Yield the pairs of a file, and add the places of functions that Python does not parse to `unreadable`."""
    for where, row in json_lines(file):
        code, docstring = (row.get(key) for key in ("code", "docstring")) if isinstance(row, dict) else (None, None)
        if not isinstance(code, str) or not isinstance(docstring, str):
            raise CodeparrotError(f'{where}: a pair is {{"code": ..., "docstring": ..., "language": ...}}, all texts')
        place = f"{file.name}:{where.rpartition(' ')[2]}"
        pair = _pair(row, code, docstring, place)
        if pair:
            yield pair
        else:
            unreadable.append(place)


def _pair(row: dict[str, Any], code: str, docstring: str, place: str) -> Pair | None:
    language = str(row.get("language", PYTHON)).lower()
    name = str(row.get("func_name") or "")
    if language == PYTHON:
        functions = definitions(code)
        if functions is None:
            return None
        if functions:
            code = functions[0].body
        name = name or (functions[0].name if functions else "")
    task = str(row.get("url") or place)
    return Pair(task, code, first_sentence(docstring), name, language)

"""A corpus of any size of which everything is known beforehand: small documents, copies of them, and bad files.

The text of document i is a function of i alone. A unique one is a piece of a real Python file of this machine (200 to 600
bytes; several where larger documents are asked for) in which every name is replaced by another real name, drawn for this
document, so that no run of five tokens is shared with another. A copy is such a text with other white space (exact) or with a
comment of two words at its end (near: a Jaccard similarity of 0.9 and more). A contaminated one ends with the solution of a
planted problem. Bad ones are each removed by one filter.
"""

import ast
import json
import keyword
import re
import sysconfig
import textwrap
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ROWS_A_GROUP, ROWS_A_FILE = 2000, 100_000
TEMPLATES, NAMES, SLOTS = 1000, 20_000, 64
SMALLEST, LARGEST = 200, 600
"""Bytes of a piece, before its names are replaced."""
PROBLEMS = 50
REPOSITORY = 10
"""Documents of a repository."""

UNIQUE, EXACT, NEAR, CONTAMINATED, BAD = range(5)
REASONS = ("size", "generated", "longest_line", "mean_line", "alphanumeric", "few_assignments", "undecodable", "malformed")
"""What removes the bad ones, in turn."""
SHARES = {EXACT: 0.15, NEAR: 0.15, CONTAMINATED: 0.005, BAD: 0.095}
COPIES = (1, 1, 1, 2, 1, 1, 4, 1, 2, 1, 8)
"""Of the documents that have copies, in turn: as many as in real corpora, where most clusters are pairs."""
LARGE_CLUSTERS = 0.01
"""The share of the copies that belong to one document, exact ones to the first and near ones to the second."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"[A-Za-z0-9_]+")
_LEFT_OUT = {"test", "tests", "encodings", "site-packages"}
_TELLING = re.compile("config|test|generated|auto|unit|file", re.IGNORECASE)
"""Parts of names that a filter looks for."""


class Plan(NamedTuple):
    """What every document is."""

    kind: NDArray[np.uint8]
    origin: NDArray[np.int64]
    """The document whose text a copy has; itself for all others."""

    pieces: int
    """Pieces of files in a text."""

    def expected(self) -> NDArray[np.int64]:
        """Return the documents of which each, or one copy of it, has to be in the corpus."""
        return np.flatnonzero(self.kind == UNIQUE)

    def removed(self) -> dict[str, int]:
        """Return how many documents each filter removes."""
        bad = np.flatnonzero(self.kind == BAD)
        counts = np.bincount(bad % len(REASONS), minlength=len(REASONS)).tolist()
        return dict(zip(REASONS, counts, strict=True))


def plan(documents: int, pieces: int = 1) -> Plan:
    """Return what each of so many documents is, in a drawn order; each is made of so many pieces."""
    random = np.random.default_rng(documents)
    counts = {kind: int(share * documents) for kind, share in SHARES.items()}
    kinds = np.repeat(np.array([UNIQUE, *counts], np.uint8), [documents - sum(counts.values()), *counts.values()])
    kind = random.permutation(kinds)
    origin = np.arange(documents)
    unique = random.permutation(np.flatnonzero(kind == UNIQUE))
    next_with_copies = 2
    for place, each in enumerate((EXACT, NEAR)):
        copies = random.permutation(np.flatnonzero(kind == each))
        large = int(LARGE_CLUSTERS * len(copies))
        sizes = np.resize(COPIES, len(copies))
        owners = np.repeat(np.arange(len(sizes)), sizes)[: len(copies) - large] + next_with_copies
        # Near copies begin halfway through the owners of exact ones: some documents have both.
        next_with_copies += int(owners[-1] - next_with_copies) // 2
        origin[copies[:large]], origin[copies[large:]] = unique[place], unique[owners]
    return Plan(kind, origin, pieces)


class Template(NamedTuple):
    """A piece of a real file: literal text and the places of names in turn."""

    literals: list[str]
    slots: list[int]


@cache
def material() -> tuple[list[Template], list[str]]:
    """Return pieces of the standard library's files and names from them."""
    templates: dict[str, Template] = {}
    names: dict[str, None] = {}
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if len(templates) >= TEMPLATES and len(names) >= NAMES:
            break
        if _LEFT_OUT & {*file.parts}:
            continue
        try:
            text = file.read_bytes().decode("ascii")
            tree = ast.parse(text)
        except (ValueError, SyntaxError):
            continue
        names.update((name, None) for name in _NAME.findall(text) if 4 <= len(name) <= 12 and not _is_fixed(name))
        lines = text.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and len(templates) < TEMPLATES:
                piece = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])) + "\n"
                if SMALLEST <= len(piece) <= LARGEST and piece.count("=") >= 2 and (template := _template(piece)):
                    templates.setdefault(piece, template)
    return list(templates.values())[:TEMPLATES], list(names)[:NAMES]


def _is_fixed(name: str) -> bool:
    return keyword.iskeyword(name) or _TELLING.search(name) is not None


def _template(piece: str) -> Template | None:
    """Return a piece with its names taken out; None if five tokens in a row, or two names, would not tell documents apart."""
    if _TELLING.search(piece) or len(piece) > 60 * piece.count("\n"):
        return None
    literals, slots, end = [], [], 0
    known: dict[str, int] = {}
    for found in _NAME.finditer(piece):
        if not keyword.iskeyword(found.group()):
            literals.append(piece[end : found.start()])
            slots.append(known.setdefault(found.group(), len(known)))
            end = found.end()
    fixed = [keyword.iskeyword(token) or token.isdigit() for token in _TOKEN.findall(piece)]
    alike = any(sum(fixed[place : place + 5]) > 3 for place in range(len(fixed)))
    return None if alike or not 4 <= len(known) <= SLOTS or len(fixed) < 36 else Template([*literals, piece[end:]], slots)


def solutions() -> list[str]:
    """Return the solutions of the planted problems, from pieces that no other document is made of."""
    templates = material()[0][-PROBLEMS:]
    return [_filled(template, -1 - number) for number, template in enumerate(templates)]


def base(number: int, pieces: int) -> str:
    """Return the text of a unique document."""
    templates = material()[0][:-PROBLEMS]
    drawn = (number * pieces + piece for piece in range(pieces))
    return "\n\n".join(_filled(templates[_drawn(each, 0) % len(templates)], each) for each in drawn)


def _filled(template: Template, number: int) -> str:
    names = material()[1]
    chosen = [names[_drawn(number, 1 + slot) % len(names)] for slot in range(max(template.slots) + 1)]
    parts = [""] * (2 * len(template.slots) + 1)
    parts[::2], parts[1::2] = template.literals, [chosen[slot] for slot in template.slots]
    return "".join(parts)


def _drawn(number: int, place: int) -> int:
    """Return a number that depends on a document and a place in it (splitmix64)."""
    state = (number * SLOTS * 2 + place) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return state ^ state >> 31


def content(number: int, planned: Plan, solved: list[str]) -> bytes | None:
    """Return the bytes of a document."""
    kind, names = planned.kind[number], material()[1]
    text = base(int(planned.origin[number]), planned.pieces)
    if kind == EXACT:
        text = text.replace("\n", "\n\n", 1 + number % 3) + "\n" * (number % 4)
    elif kind == NEAR:
        text += "# " + " ".join(names[_drawn(number, SLOTS + place) % len(names)] for place in range(2)) + "\n"
    elif kind == CONTAMINATED:
        text += "\n\n" + solved[number % PROBLEMS]
    elif kind == BAD:
        return _bad(text, REASONS[number % len(REASONS)])
    return text.encode()


def _bad(text: str, reason: str) -> bytes | None:
    head = text.partition("\n")[0]
    texts = {
        "size": head,
        "generated": f"# This is auto-generated.\n{text}",
        "longest_line": f'{text}\nLONG = "{"data " * 220}"\n',
        "mean_line": "\n".join(f"value_{row} = {' + '.join([text[4:9].strip() or 'x'] * 40)}" for row in range(3)),
        "alphanumeric": f"{head}\n" + f"# {'-+' * 40}\n" * 12,
        "few_assignments": text.replace("=", " "),
    }
    if reason == "malformed":
        return None
    return text.encode() + b"\xff\xfe\xfa" if reason == "undecodable" else texts[reason].encode()


def write(folder: Path, planned: Plan) -> None:
    """Write the documents as Parquet files, and the problems that some hold; files that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    solved = solutions()
    rows = [{"task_id": f"planted/{number}", "solution": text} for number, text in enumerate(solved)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    schema = pa.schema({"repo_name": pa.string(), "path": pa.string(), "content": pa.binary()})
    for start in range(0, len(planned.kind), ROWS_A_FILE):
        file = folder / f"documents-{start:010d}.parquet"
        if file.exists():
            continue
        fresh = file.with_suffix(".fresh")
        with pq.ParquetWriter(fresh, schema, compression="zstd") as writer:
            stop = min(start + ROWS_A_FILE, len(planned.kind))
            for first in range(start, stop, ROWS_A_GROUP):
                numbers = range(first, min(first + ROWS_A_GROUP, stop))
                columns = [
                    [f"owner{each // REPOSITORY % 997}/repository{each // REPOSITORY}" for each in numbers],
                    [path_of(each) for each in numbers],
                    [content(each, planned, solved) for each in numbers],
                ]
                writer.write_table(pa.table(columns, schema=schema))
        fresh.replace(file)


def path_of(number: int) -> str:
    return f"source/{number:010d}.py"


def numbers_of(paths: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the documents with these paths."""
    return np.array([int(path[7:17]) for path in paths.to_pylist()], np.int64)

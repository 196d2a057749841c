"""Documents with known contents: pairs of known similarity, copies, broken ones.

They look like Python and pass CodeParrot's filters. All tokens are drawn from a seeded generator, so two documents share only
the shingles that were planted.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

NGRAM = 5
TOKENS = 604


class Planted(NamedTuple):
    repo_name: str
    path: str
    content: str


def words(generator: random.Random, count: int) -> list[str]:
    return [f"{generator.choice('abcdefgh')}{generator.getrandbits(48):x}" for _ in range(count)]


def code(tokens: Sequence[str]) -> str:
    """Write tokens as statements of four tokens, in functions of ten statements."""
    lines = []
    for index, start in enumerate(range(0, len(tokens), 4)):
        first, *rest = tokens[start : start + 4]
        if index % 11 == 0:
            lines.append(f"def {first}({', '.join(rest)}):")
        else:
            lines.append(f"    {first} = {' + '.join(rest) or 'None'}")
    return "\n".join(lines) + "\n"


def similar(generator: random.Random, similarity: float, tokens: int = TOKENS) -> tuple[str, str, float]:
    """Return two documents of the same length, and the Jaccard similarity of their shingles, as near as possible."""
    shingles = tokens - NGRAM + 1
    shared = round(2 * shingles * similarity / (1 + similarity))
    common = words(generator, shared + NGRAM - 1)
    first, second = (common + words(generator, tokens - len(common)) for _ in range(2))
    return code(first), code(second), shared / (2 * shingles - shared)


def pairs(similarity: float, count: int, seed: int = 0) -> list[tuple[Planted, Planted]]:
    """Return pairs of this similarity; every document has its own repository."""
    generator = random.Random(f"{seed} {similarity}")
    made = []
    for index in range(count):
        first, second, _ = similar(generator, similarity)
        names = (f"{similarity:g}-{index}-{side}" for side in ("one", "other"))
        made.append(
            tuple(Planted(f"org/{name}", f"src/{name}.py", text) for name, text in zip(names, (first, second), strict=True))
        )
    return made


def documents(count: int, seed: int = 0, repositories: int = 20, tokens: int = TOKENS) -> list[Planted]:
    """Return documents that have nothing in common."""
    generator = random.Random(f"{seed} documents")
    return [
        Planted(f"org/r{index % repositories}", f"src/module{index}.py", code(words(generator, tokens)))
        for index in range(count)
    ]


def write_rows(file: Path, planted: Sequence[Planted]) -> Path:
    """Write documents as JSON lines."""
    file.write_text("".join(json.dumps(each._asdict()) + "\n" for each in planted), encoding="utf-8")
    return file

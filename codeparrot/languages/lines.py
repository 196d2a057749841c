"""Guesses the language of a text that has no name, from what its lines begin with.

The first word of a line chooses the few patterns that are tried on it, and each gives points to a language. The language with
the most points is taken, if it has enough and none is near. Without that, nothing is said: better unknown than wrong.
"""

import re
from collections import Counter
from functools import cache
from importlib.resources import files

NUM_LINES = 150
LINE_CHARACTERS = 120
ENOUGH = 5
"""Points."""
AHEAD = 1.5
"""Times the points of the next."""

EVERY = "ANY"
"""Instead of a first word: tried on every line."""
PARENTS = {"c++": "c", "objective-c": "c", "typescript": "javascript", "scss": "css"}
"""What a language has all of: its parent's points count for it too, once its own tell it."""

_WORD = re.compile(r"[#@$]?[A-Za-z_]\w*+|\S")


@cache
def _rules() -> dict[str, list[tuple[str, int, re.Pattern[str]]]]:
    rules: dict[str, list[tuple[str, int, re.Pattern[str]]]] = {}
    text = files("codeparrot.languages").joinpath("lines.txt").read_text(encoding="utf-8")
    for line in text.split("\n"):
        if line and not line.startswith("# "):
            language, points, word, pattern = line.split(None, 3)
            rules.setdefault(word, []).append((language, int(points), re.compile(pattern)))
    return rules


def guess(text: str) -> str | None:
    """Return the language of a text, None if its first lines leave it open."""
    rules, points = _rules(), Counter[str]()
    for whole in text.split("\n", NUM_LINES)[:NUM_LINES]:
        line = whole[:LINE_CHARACTERS].strip()
        word = _WORD.match(line)
        if not word:
            continue
        name = word[0]
        also = rules.get(name[0], ()) if len(name) > 1 and name[0] in "#@$" else ()
        for language, given, pattern in (*rules.get(name, ()), *also, *rules[EVERY]):
            if pattern.match(line):
                points[language] += given
    for language, parent in PARENTS.items():
        if points[language] >= ENOUGH:
            points[language] += points[parent]
    (best, most), (_, next_most) = [*points.most_common(2), ("", 0), ("", 0)][:2]
    if most >= ENOUGH and most >= AHEAD * next_most:
        return best
    return _of_data(text)


def _of_data(text: str) -> str | None:
    start = text[:200].lstrip()
    if start[:1] in ("{", "[") and re.match(r'[\[{]\s*+(?:"[^"\n]*"\s*+[:,]|\{\s*+"|[\]}])', start):
        return "json"
    return None

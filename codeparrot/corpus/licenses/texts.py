"""Recognises licences by their texts.

The texts come with `identify` (those of choosealicense.com, and so of GitHub's own detection). A few licences of Python
packages that it lacks are recognised by sentences that no other licence has. A text is compared by its three-word sequences, so
a copyright line, a name in a clause or another layout changes little. Cost: 2 ms for a text of 10 kB.
"""

import re
from functools import cache

from codeparrot.corpus.licenses.names import spelling

MIN_COVERAGE = 0.9
"""Smallest share of a licence's three-word sequences that a text must have."""
MIN_OF_ITS_OWN = 0.4
"""Smallest share of them that no longer licence in the same text accounts for: BSD-3-Clause contains all of BSD-2-Clause."""
MAX_CHARACTERS = 400_000

SENTENCES = {
    "Apache-2.0": "licensed under the apache license version 2.0 the license you may not use this file except in compliance",
    "HPND": "permission to use copy modify and distribute this software and its documentation for any purpose and without fee"
    " is hereby granted provided that the above copyright notice appear in all copies and that both that copyright notice and"
    " this permission notice appear in supporting documentation",
    "MIT-0": "permission is hereby granted free of charge to any person obtaining a copy of this software and associated"
    " documentation files the software to deal in the software without restriction including without limitation the rights to"
    " use copy modify merge publish distribute sublicense and or sell copies of the software and to permit persons to whom the"
    " software is furnished to do so the software is provided as is",
    "MPL-2.0": "this source code form is subject to the terms of the mozilla public license v 2 0",
    "PSF-2.0": "psf hereby grants licensee a nonexclusive royalty free world wide license to reproduce analyze test perform and"
    " or display publicly prepare derivative works distribute and otherwise use python",
    "TCL": "the authors hereby grant permission to use copy modify distribute and license this software and its documentation"
    " for any purpose provided that existing copyright notices are retained in all copies",
    "ZPL-2.1": "zope public license zpl version 2 1",
}
"""Sentences without punctuation, as they are compared."""
NAMED = {"ECL-2.0": "educational community license"}
"""Licences that add a few words to another one, and what their text must say."""
MORE_CLAUSES = {
    "BSD-3-Clause": "to endorse or promote products derived from this software without specific prior written permission",
    "BSD-4-Clause": "all advertising materials mentioning features or use of this software must display the following",
}
"""Clauses that turn BSD-2-Clause into another licence, for texts whose own wording keeps the whole from matching."""

RESTRICTIONS = {
    "LicenseRef-CC-NonCommercial": (
        ("creative commons", "noncommercial"),
        ("creative commons", "non commercial"),
        ("cc by nc",),
    ),
    "LicenseRef-Commons-Clause": (("commons clause",),),
}
"""Riders that restrict a licence, and phrases that identify them: all phrases of one group."""

# Not the middle of a sentence that was wrapped: "copyright notice, this list of conditions and the following disclaimer".
_COPYRIGHT = re.compile(
    r"^[^a-z\n]{0,20}"
    r"(?:copyright(?!\s+(?:notices?|holders?|owners?|laws?|licen[cs]es?|interests?|statements?|and|or|in|to|is)\b)|\(c\)|©)[^\n]*$",
    re.MULTILINE,
)
# Clauses have numbers, letters or bullets.
_MARKER = re.compile(r"^[^\w\n]*(?:\d{1,2}[.)]|[a-h]\))\s", re.MULTILINE)
_WORD = re.compile(r"[a-z0-9]+")


@cache
def _licenses() -> dict[str, frozenset[tuple[str, ...]]]:
    from identify.vendor.licenses import LICENSES

    return {spelling(name) or name: frozenset(_sequences(_words(text))) for name, text in LICENSES}


def detect(text: str) -> str | None:
    """Return the licence whose text this is, several joined by AND; None if it is not the text of any."""
    words = _words(text)
    found = _by_text(set(_sequences(words)))
    joined = f" {' '.join(words)} "
    found = {name for name in found if NAMED.get(name, "") in joined}
    found |= {name for name, sentence in SENTENCES.items() if f" {sentence} " in joined}
    found |= {
        name for name, groups in RESTRICTIONS.items() if any(all(f" {each} " in joined for each in group) for group in groups)
    }
    if "BSD-2-Clause" in found and (more := [name for name, clause in MORE_CLAUSES.items() if f" {clause} " in joined]):
        found = found - {"BSD-2-Clause", "BSD-3-Clause"} | {more[-1]}
    return " AND ".join(sorted(found)) or None


def _by_text(sequences: set[tuple[str, ...]]) -> set[str]:
    """Return the licences that a text holds nearly all of, each by words that the ones before it do not explain."""
    held = {name: each & sequences for name, each in _licenses().items()}
    likely = [name for name, each in _licenses().items() if len(held[name]) >= MIN_COVERAGE * len(each)]
    found: set[str] = set()
    explained: set[tuple[str, ...]] = set()
    # The longest first: AGPL-3.0, a variant of GPL-3.0, accounts for nearly all of it.
    for name in sorted(likely, key=lambda name: (-len(held[name]), name)):
        if len(held[name] - explained) >= MIN_OF_ITS_OWN * len(_licenses()[name]):
            found.add(name)
            explained |= held[name]
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(_MARKER.sub(" ", _COPYRIGHT.sub(" ", text[:MAX_CHARACTERS].lower())))


def _sequences(words: list[str]) -> list[tuple[str, ...]]:
    return list(zip(words, words[1:], words[2:], strict=False))

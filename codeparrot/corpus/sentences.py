"""The first sentence of a docstring."""

import re

_LISTS = re.compile(
    r"(?:[:@](?:param|parameter|arg|argument|key|keyword|type|return|returns|rtype|raise|raises)\b"
    r"|(?:Args?|Arguments?|Params?|Parameters?|Keyword Arguments|Returns?|Yields?|Raises|Notes?|Examples?|See Also)\s*:?\s*$"
    r"|>>> )",
    re.IGNORECASE,
)
"""How a line begins, or what it is, that lists parameters, results or examples: what is behind it describes no more."""
_END = re.compile(r"(?<=[.!?])(?:[\"')\]]*)(?=\s|$)")
_ABBREVIATIONS = re.compile(r"\b(?:(?i:e\.g|i\.e|etc|cf|vs|resp|approx|fig|eq|al)|[A-Z])\.$")
"""What a sentence does not end with: also the first letter of a name, but no variable in a small letter."""


def first_sentence(docstring: str) -> str:
    """Return the first sentence of a docstring in one line; empty where it begins with a list of parameters or examples."""
    lines: list[str] = []
    for line in docstring.strip().split("\n"):
        stripped = line.strip()
        if not stripped or _LISTS.match(stripped):
            break
        if lines and set(stripped) <= set("=-~^*#"):  # it underlines a title
            break
        lines.append(stripped)
    paragraph = " ".join(" ".join(lines).split())
    for end in _END.finditer(paragraph):
        if not _ABBREVIATIONS.search(paragraph[: end.start()]):
            return paragraph[: end.end()]
    return paragraph

"""The language of a document, from its name and its text."""

from codeparrot.languages.names import LANGUAGES

_BY_NAME = {name: each.name for each in LANGUAGES.values() for name in each.filenames}
_BY_SUFFIX = {suffix: each.name for each in reversed(LANGUAGES.values()) for suffix in each.suffixes}


def language_of(path: str, content: str) -> str | None:
    """Return the canonical name of the language that a document is written in; None if nothing tells it."""
    name = path.rpartition("/")[2]
    return _BY_NAME.get(name) or _BY_SUFFIX.get("." + name.rpartition(".")[2] if "." in name else "")

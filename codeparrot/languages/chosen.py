"""The languages that somebody asked for: which files may hold them, and which documents are theirs."""

from collections.abc import Sequence

from codeparrot.languages.names import LANGUAGES, Language, language_named

ALL = "all"
"""Every language that people write by hand; data (JSON, CSV, ...) only where it is named too."""
DATA = "data"


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """Return the canonical names, each once.

    Raises:
        CodeparrotError: a name is not known; the message suggests the nearest.
    """
    return tuple(dict.fromkeys(ALL if name.strip().lower() == ALL else language_named(name).name for name in names))


def endings(names: Sequence[str]) -> tuple[str, ...]:
    """Return what the path of a file that may hold one of these ends in: ".py", or "/Makefile" for a whole name."""
    found: dict[str, None] = {}
    for each in _languages(names):
        found.update(dict.fromkeys((*each.suffixes, *(f"/{name}" for name in each.filenames))))
    return tuple(found)


def has_ending(path: str, wanted: tuple[str, ...]) -> bool:
    """Whether a path has one of the endings; it need not begin with a slash."""
    return path.endswith(wanted) or f"/{path}".endswith(wanted)


def is_chosen(language: str | None, names: Sequence[str]) -> bool:
    """Whether documents in a language are among those asked for (none: nothing was asked, so all are).

    `all` leaves out only data: a language that the table lacks may be any other.
    """
    if not names or language in names:
        return True
    return ALL in names and (language not in LANGUAGES or LANGUAGES[language].kind != DATA)


def _languages(names: Sequence[str]) -> list[Language]:
    return [each for each in LANGUAGES.values() if is_chosen(each.name, names)]

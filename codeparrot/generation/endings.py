"""Where a completion ends besides the end token: what is asked for, in the language that is told or that the request shows.

Guarantee: a language that is told wins; what falls back to the indentation of lines is said once for each language.
"""

import logging
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.generation.blocks import Block
from codeparrot.generation.functions import Function, ends_functions
from codeparrot.languages.detect import language_of
from codeparrot.languages.names import LANGUAGES, canonical
from codeparrot.languages.stops import has_stops, stops_of

StopAt = Literal["language", "block", "function", "none"]
STOPS: tuple[StopAt, ...] = ("language", "block", "function", "none")

log = logging.getLogger(__name__)


class Ending(NamedTuple):
    """Where a completion ends."""

    texts: tuple[str, ...] = ()
    """Before any of them."""
    block: Block | Function | None = None
    """With it."""


def language_told(language: str, paths: Iterable[str] = (), text: str = "") -> str:
    """Return the name of the language of a request; empty where nothing shows it.

    Args:
        language: what the request says, in any of its names; empty: nothing. It need not be known.
        paths: of the file, if they are known, the surest first.
        text: in front of the cursor; some editors begin it with a comment `language: NAME`.
    """
    if language.strip():
        return canonical(language)
    by_path = next((found for path in paths if path and (found := language_of(path.replace("\\", "/"), text))), "")
    said = _COMMENT.match(text)
    name = canonical(said[1]) if said else ""
    return by_path or (name if name in LANGUAGES else "")


_COMMENT = re.compile(r"\W{0,6}language:[ \t]*([\w+#.-]{1,40})", re.IGNORECASE)


def checked_language(name: str) -> str:
    """Return the table's name of a language that a user names.

    Raises:
        CodeparrotError: the table has none.
    """
    found = canonical(name)
    if found not in LANGUAGES:
        hint = nearest(found, LANGUAGES) or f"; one of {', '.join(LANGUAGES)}"
        raise CodeparrotError(f'there is no language "{name}" (--stop block needs none){hint}')
    return found


def ending(stop: StopAt, language: str, before: str) -> Ending:
    """Return where a completion behind a text ends.

    Args:
        stop: before the next block at the top level, with the cursor's block, or its function, or nowhere.
        language: its name, as `language_told` returns it.
        before: the text in front of the cursor.
    """
    if stop == "none":
        return Ending()
    if stop == "language" and has_stops(language):
        return Ending(stops_of(language))
    if stop == "function" and ends_functions(language):
        return Ending(block=Function.at(before, language))
    if stop != "block":
        _say_fallback(stop, language)
    return Ending(block=Block.at(before))


@lru_cache(maxsize=1024)
def _say_fallback(stop: str, language: str) -> None:
    what = "stop texts" if stop == "language" else "ends of functions"
    of = f"of {language} are" if language in LANGUAGES else f'of "{language[:40]}" are' if language else "are"
    why = "not known" if language else "not known without a language"
    log.warning("the %s %s %s: its completions end with their block, by indentation", what, of, why)

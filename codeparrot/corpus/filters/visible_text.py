"""Web pages that are mostly markup: little of the file is text that a browser shows.

StarCoder (Li et al. 2023, section 3.1) keeps HTML files of which at least 20% and at least 100 characters are visible. There,
white space counts on both sides of the fraction; here a run of it counts as one character on both sides, so that indentation
is not taken for text. One pass of a regular expression that cannot backtrack finds the markup, of broken pages too: its time
grows with the length alone, which that of the standard library's parser does not.
"""

import html
import re
from dataclasses import dataclass

from codeparrot.corpus.filters.filter import Filter, fraction
from codeparrot.corpus.filters.text import Text

# Comments, elements without visible text, and tags. As in a browser, what is not closed runs to the end of the page, a quote
# opens a value behind an equals sign only, and "<" is text unless a letter, "/", "!" or "?" follows.
_MARKUP = re.compile(
    r"""
    <!-- [^-]*+ (?: -(?!->) [^-]*+ )*+ (?: --> | \Z )
    | <(?P<name>script|style|template)(?=[\s/>]) [^<]*+ (?: <(?!/(?P=name)[\s/>]) [^<]*+ )*+ (?: </(?P=name)[^>]*+ >? | \Z )
    | <[A-Za-z/!?] (?: [^>=]++ | =\s*+ (?: "[^"]*+ "? | '[^']*+ '? )?+ )*+ >?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SPACES = re.compile(r"\s+")
_LONG_NUMBER = re.compile(r"&#[0-9]{100,}+;?")
"""No character has such a number, and Python reads none of more than some thousand digits."""


@dataclass(frozen=True)
class Limits:
    min_visible_characters: int = 0
    """Fewest characters of an HTML file that a browser shows, a run of white space counted as one; StarCoder took 100 (0: any
    number)."""
    min_visible_fraction: float = fraction(0.0)
    """Smallest fraction of an HTML file that a browser shows; StarCoder took 0.2 (0: any)."""


def visible_text(content: str) -> str:
    """Return a page's text without comments, scripts, styles, templates and tags; a run of white space becomes a space."""
    return _SPACES.sub(" ", html.unescape(_LONG_NUMBER.sub("\ufffd", _MARKUP.sub(" ", content)))).strip()


def passes(text: Text, limits: Limits) -> bool:
    if text.language != "html":
        return True
    visible = len(visible_text(text.content))
    return limits.min_visible_characters <= visible and visible >= limits.min_visible_fraction * _dense_length(text.content)


def _dense_length(content: str) -> int:
    return len(_SPACES.sub(" ", content).strip())


FILTER = Filter(
    Limits,
    passes,
    order=95,
    rule="HTML with fewer than {min_visible_characters:,} characters, or less than {min_visible_fraction:.0%}, that a browser "
    "shows",
    is_on=lambda limits: limits.min_visible_characters or limits.min_visible_fraction,
)

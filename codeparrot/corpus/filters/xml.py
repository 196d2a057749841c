"""XML: in files that should hold another language, as large data, and as drawings.

StarCoder (Li et al. 2023, section 3.1) removes files of every language but XSLT that have `<?xml version=` in their first 100
characters: many endings of programming languages are used for XML, too. Here XSLT is XML, which has a limit of its own, ours.
"""

import re
from dataclasses import dataclass

from codeparrot.corpus.filters.data_files import within
from codeparrot.corpus.filters.filter import Filter
from codeparrot.corpus.filters.text import Text

XML = "xml"
DECLARATION = "<?xml version="
_DECLARED_WITHIN = 100
# Before the root: a byte order mark, white space, declarations and comments. Each runs to its end, or to the end of the text.
_ROOT = re.compile(
    r"(?:\s++|\ufeff|<\?[^>]*+>?|<!--[^-]*+(?:-(?!->)[^-]*+)*+(?:-->|\Z)|<!(?!--)[^>\[]*+(?:\[[^\]]*+\]?[^>]*+)?>?)*+"
    r"<(?:\w++:)?(?P<root>[\w.-]++)"
)


@dataclass(frozen=True)
class Limits:
    remove_xml_elsewhere: bool = False
    """Whether to remove files of other languages that have `<?xml version=` in their first 100 characters, as StarCoder did."""
    max_xml_characters: int = 0
    """Most characters of an XML file (0: any number)."""
    remove_svg: bool = False
    """Whether to remove XML files that are SVG drawings, by their root element."""


def is_no_disguise(text: Text, limits: Limits) -> bool:
    return text.language == XML or DECLARATION not in text.content[:_DECLARED_WITHIN]


def is_small(text: Text, limits: Limits) -> bool:
    return text.language != XML or within(len(text.content), limits.max_xml_characters)


def is_no_drawing(text: Text, limits: Limits) -> bool:
    return text.language != XML or root(text.content) != "svg"


def root(content: str) -> str | None:
    """Return the name of an XML file's root element without its prefix; None if there is none."""
    found = _ROOT.match(content)
    return found["root"] if found else None


ELSEWHERE = Filter(
    Limits,
    is_no_disguise,
    order=14,
    rule="XML in a file of another language",
    is_on=lambda limits: limits.remove_xml_elsewhere,
)
DRAWING = Filter(Limits, is_no_drawing, order=15, rule="an SVG drawing", is_on=lambda limits: limits.remove_svg)
SIZE = Filter(
    Limits,
    is_small,
    order=16,
    rule="XML of more than {max_xml_characters:,} characters",
    is_on=lambda limits: limits.max_xml_characters,
)

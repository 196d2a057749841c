"""What metadata calls a licence, as an SPDX expression.

`license-expression` parses expressions and knows the identifiers. This module knows the names that people write instead, in the
metadata of packages and in the tables of code data sets. An unknown name stays recognisable and is never taken for permissive:
"Foo EULA 2" becomes LicenseRef-Foo-EULA-2, as SPDX spells licences that it does not list.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

from codeparrot.corpus.documents import UNKNOWN_LICENSE

SPELLINGS = {
    "AFL-3.0": r"academic free license(,? v(ersion|\.)? ?3(\.0)?| \(afl\))",
    "Apache-2.0": r"(the )?apache([ -]software)?([ -]license)?,?[ -]?(version |v\.? ?)?2(\.0)?( license)?",
    "Apache": r"(the )?apache( software license|[ -]license)?",
    "Artistic-2.0": r"(the )?artistic license 2(\.0)?",
    "BSD-2-Clause": r"((simplified )?bsd[ -]2[ -]clause|(2|two)[ -]clause bsd|simplified bsd|bsd \(2[ -]clause\))( license)?",
    "BSD-3-Clause": r"((new|modified|revised) )?(bsd[ -]3[ -]clause|(3|three)[ -]clause bsd|bsd \(3[ -]clause\))( license)?"
    r"|(new|modified|revised) bsd( license)?",
    "BSD": r"(the )?bsd([ -]style)?( license)?|bsd[ -]like( license)?",
    "BSL-1.0": r"boost software license( -)?,?( version)? ?1\.0( \(bsl-1\.0\))?",
    "CC0-1.0": r"cc0( 1\.0)?( universal)?( \(cc0 1\.0\) public domain dedication)?",
    "EPL-1.0": r"eclipse public license 1\.0 \(epl-1\.0\)",
    "EPL-2.0": r"eclipse public license 2\.0 \(epl-2\.0\)",
    "EUPL-1.2": r"european union public licen[cs]e 1\.2 \(eupl 1\.2\)",
    "HPND": r"historical permission notice and disclaimer \(hpnd\)|hpnd",
    "ISC": r"(the )?isc( license)?( \(iscl\))?",
    "LicenseRef-Proprietary": r"(other/)?proprietary( license)?|all rights reserved|commercial",
    "LicenseRef-Public-Domain": r"public[ -]domain",
    "MIT": r"(the )?(mit|expat)([ -]style)?( license)?( \(mit\))?|mit/x11|mit[ -]like",
    "MIT-0": r"mit no attribution( license)?( \(mit-0\))?",
    "MPL-1.1": r"mozilla public license 1\.1 \(mpl 1\.1\)|mpl[ -]?1\.1",
    "MPL-2.0": r"mozilla public license,?( version| v\.?)? ?2(\.0)?( \(mpl 2\.0\))?|mpl[ -]?v?2(\.0)?",
    "NCSA": r"university of illinois/ncsa open source license",
    "PSF-2.0": r"(the )?(python software foundation license|psf(l)?( license)?|psf-2)",
    "PostgreSQL": r"postgresql license",
    "UPL-1.0": r"universal permissive license \(upl\)|upl",
    "Unlicense": r"(the )?unlicense( \(unlicense\))?",
    "WTFPL": r"do what the f.{0,3} you want to public license|wtfpl",
    "ZPL-2.1": r"zpl[ -]?2\.1|zope public license,?( version)? 2\.1",
    "ZPL": r"zope public license|zpl",
    "Zlib": r"zlib(/libpng)?( license)?",
}
"""How metadata writes a licence: a card has one line for all spellings. A name without a version gets none."""

FAMILIES = ("AGPL", "Apache", "BSD", "GPL", "LGPL", "ZPL")
"""Names without a version, which SPDX does not list."""

REFERENCE = "LicenseRef-"

_GNU = re.compile(
    r"(?:the )?(?:gnu )?(?P<kind>affero |lesser |library or lesser |library |a|l)?(?:gpl|general public licen[cs]e)"
    r"(?: \([al]?gpl\))?[ ,-]*(?:version |v\.? ?)?(?P<version>[123](?:\.[01])?)?(?:\.0)?(?: license)?"
    r"(?P<later>\+|(?:,? or (?:later|newer|any later version|\(at your option\) any later version))(?: version)?)?"
    r"(?: license)?(?: \([al]?gplv?[123](?:\.[01])?(?P<plus>\+)?\))?(?P<only> only)?"
)
_NOT_DECLARED = frozenset(
    ("", "-", "?", "n/a", "na", "noassertion", "none", "null", "other", "license", "see license", "unknown", "unspecified")
)
_SEPARATOR = re.compile(r" *[,;&] *")
_CHOICE = re.compile(r" */ *| *\| *")
_LONGEST_NAME = 200
_LONGEST_REFERENCE = 80
_LONGEST_EXPRESSION = 2000


def spelling(text: str) -> str | None:
    """Return the one spelling of a name or an expression; None if the text is too long to be one.

    Words are separated by single spaces. An unknown name becomes a LicenseRef; a text that declares nothing, "unknown".
    """
    return _spelling(text) if len(text) <= _LONGEST_EXPRESSION else None


@lru_cache(maxsize=4096)
def _spelling(text: str) -> str | None:
    if text.lower() in _NOT_DECLARED:
        return UNKNOWN_LICENSE
    separated = _SEPARATOR.sub(" AND ", text)
    for attempt in (text, separated, _CHOICE.sub(" OR ", separated)):
        if expression := parse(attempt):
            return str(expression)
    if len(text) > _LONGEST_NAME:
        return None
    name = re.sub(r"[^A-Za-z0-9.]+", "-", text.removeprefix(REFERENCE))[:_LONGEST_REFERENCE].strip("-.")
    return f"{REFERENCE}{name or 'Other'}"


class Expression(NamedTuple):
    """A licence, or several that all hold (AND) or among which one may choose (OR)."""

    operator: Literal["", "AND", "OR"]
    name: str
    """Name of the licence; empty if there are parts."""
    parts: tuple["Expression", ...] = ()

    def __str__(self) -> str:
        inside = (f"({part})" if self.operator == "AND" and part.operator == "OR" else str(part) for part in self.parts)
        return f" {self.operator} ".join(inside) or self.name

    def holds(self, allows: Callable[[str], bool]) -> bool:
        """Whether the expression is satisfied, given that `allows` says whether each licence is."""
        if not self.operator:
            return allows(self.name)
        return (all if self.operator == "AND" else any)(part.holds(allows) for part in self.parts)


def parse(text: str) -> Expression | None:
    """Return a text as an expression, or None if a part of it is not a known licence."""
    name = _name(text)
    if name:
        return Expression("", name)
    # Words such as "MIT License" are symbols here: this parser knows no names and splits at the operators alone.
    try:
        tree = _splitter().parse(text)
    except (_expression_error(), RecursionError):
        return None
    return _expression(tree) if hasattr(tree, "args") and tree.args else None


def _expression(tree: Any) -> Expression | None:
    if not tree.args or not hasattr(tree, "operator") or tree.operator not in _OPERATORS:
        name = _name(tree.render())
        return Expression("", name) if name else None
    operator = _OPERATORS[tree.operator]
    parts = [_expression(part) for part in tree.args]
    known: dict[str, Expression] = {}
    for part in parts:
        if part is None:
            return None
        for inner in part.parts if part.operator == operator else (part,):
            known[str(inner)] = inner
    if len(known) == 1:
        return next(iter(known.values()))
    return Expression(operator, "", tuple(known[name] for name in sorted(known)))


_OPERATORS: dict[str, Literal["AND", "OR"]] = {" AND ": "AND", " OR ": "OR", "&": "AND", "|": "OR"}


def _name(text: str) -> str | None:
    """Return the identifier of one licence, with its exception if it has one."""
    license_name, _, exception = re.sub(r" with ", " WITH ", text, flags=re.IGNORECASE).partition(" WITH ")
    if exception:
        base, known = _name(license_name), _identifiers().get(exception.lower())
        return f"{base} WITH {known}" if base and known else None
    name = _identifiers().get(text.lower()) or _reference(text) or _gnu(text.lower()) or _spelled(text)
    if not name and text.endswith("+") and (older := _identifiers().get(text[:-1].lower())):
        return f"{older}+"
    return name


def _reference(text: str) -> str | None:
    return text if re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]+", text) else None


def _spelled(text: str) -> str | None:
    return next((name for name, how in SPELLINGS.items() if re.fullmatch(how, text, re.IGNORECASE)), None)


def _gnu(text: str) -> str | None:
    match = _GNU.fullmatch(text)
    if not match:
        return None
    kind = {"a": "A", "l": "L"}.get((match["kind"] or "")[:1], "") + "GPL"
    if not match["version"]:
        return kind
    version = match["version"] if "." in match["version"] else f"{match['version']}.0"
    return f"{kind}-{version}-{'or-later' if match['later'] or match['plus'] else 'only'}"


@cache
def _splitter() -> Any:
    import license_expression

    return license_expression.Licensing()


def _expression_error() -> type[Exception]:
    import license_expression

    return license_expression.ExpressionError


@cache
def _identifiers() -> dict[str, str]:
    """Return the identifiers that SPDX lists, by their present and former spellings in lower case."""
    import license_expression

    symbols = license_expression.get_spdx_licensing().known_symbols
    names = {
        alias.lower(): key for key, symbol in symbols.items() for alias in symbol.aliases if not alias.startswith(REFERENCE)
    }
    names |= {key.lower(): key for key in symbols if not key.startswith(REFERENCE)}
    return names | {name.lower(): name for name in FAMILIES}

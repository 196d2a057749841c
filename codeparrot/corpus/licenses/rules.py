"""The stage that keeps what may be used: an allow-list of licences, and a list of repositories whose owners opted out.

A file's licence is that of its repository, as its source declares it or as a licence file says it (license_files.py), and what
the file itself says in a line "SPDX-License-Identifier: ...". Licences are SPDX expressions: under MIT OR GPL-3.0-only the user
may choose the first, under MIT AND GPL-3.0-only both hold. This filters by what is declared; it is not legal advice.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from codeparrot.corpus.documents import UNKNOWN_LICENSE
from codeparrot.corpus.licenses.names import REFERENCE, parse, spelling
from codeparrot.corpus.licenses.texts import detect
from codeparrot.errors import CodeparrotError, nearest
from codeparrot.location import path_of
from codeparrot.text_files import BYTE_ORDER_MARK, read_text

PERMISSIVE = (
    *("0BSD", "AFL-3.0", "Apache", "Apache-1.1", "Apache-2.0", "Artistic-2.0", "BlueOak-1.0.0", "BSD", "BSD-1-Clause"),
    *("BSD-2-Clause", "BSD-2-Clause-Patent", "BSD-3-Clause", "BSD-3-Clause-Clear", "BSD-3-Clause-LBNL", "BSL-1.0"),
    *("CC0-1.0", "CNRI-Python", "curl", "ECL-2.0", "HPND", "ICU", "ISC", "JSON", "LicenseRef-Public-Domain", "MIT", "MIT-0"),
    *("MIT-CMU", "MIT-Modern-Variant", "MulanPSL-2.0", "NCSA", "OFL-1.1", "PostgreSQL", "PSF-2.0", "Python-2.0"),
    *("Python-2.0.1", "TCL", "Unicode-3.0", "Unicode-DFS-2016", "Unlicense", "UPL-1.0", "W3C", "WTFPL", "X11", "Xnet"),
    *("Zlib", "ZPL", "ZPL-2.0", "ZPL-2.1"),
)
"""What "permissive" stands for: licences that ask for attribution at most, and families of which every version does."""

ANY = "any"
OPTED_OUT = "opt_out"
NOT_ALLOWED = "license"
NOT_KNOWN = "license_unknown"

_TOP_CHARACTERS = 4096
_MARK = "SPDX-License-Identifier:"
# Only on a line of its own, after a comment sign or the quotes of a docstring: programs that look for such lines hold the words
# too.
_IDENTIFIER = re.compile(
    rf"^[ \t]*(?:#+|//+|/?\*+|--+|;+|%+|<!--|[rRuU]?(?:\"{{3}}|'{{3}}))?[ \t]*{_MARK}"
    r"[ \t]*([A-Za-z0-9.+() \t-]{1,200})",
    re.MULTILINE,
)
# In other languages any signs may stand before it, and a few words. A quote, which begins comments of Visual Basic and Vim,
# counts if no other one is on the line.
_IDENTIFIER_ANYWHERE = re.compile(
    r"""^(?:<\?(?:php|xml[^\n>]*>))?[^\w\n"'`]{0,20}(?:(?i:rem|dnl|comment|c)(?=[ \t])|'{1,3}(?![^\n]*')|"{1,3}(?![^\n]*"))?"""
    rf"[ \t]*{_MARK}[ \t]*([A-Za-z0-9.+() \t-]{{1,200}})",
    re.MULTILINE,
)


@dataclass(frozen=True)
class LicenseSettings:
    """Which licences a file may have."""

    allow: tuple[str, ...] = ("permissive",)
    """SPDX identifiers; "permissive" stands for about fifty that ask for attribution at most, "any" for every declared
    licence, known or not."""
    unknown: Literal["keep", "remove"] = "keep"
    """What to do with files without a declared licence: keep suits your own folders, remove suits a corpus to publish."""
    opt_out: str = ""
    """File with one repository per line, its name in any case or its address (https://github.com/owner/name), `#` before
    remarks: none of their files enters the corpus. Lines that no repository matches are reported."""

    def check(self) -> None:
        """Raise CodeparrotError if a name is not a licence or the file cannot be read."""
        _allowed(self.allow)
        _opted_out(self.opt_out)

    def files(self) -> dict[str, str]:
        """Return a digest of the list of those who opted out, if there is one."""
        if not self.opt_out:
            return {}
        return {"licenses.opt_out": hashlib.sha256(path_of(self.opt_out).read_bytes()).hexdigest()}


def spdx(declared: str) -> str:
    """Return a declaration as an SPDX expression in one spelling: sorted, each licence once.

    A text that declares nothing is "unknown". In a list ("MIT, BSD") all licences hold at once; a slash is a choice. The text
    of a licence itself is recognised (texts.py).
    """
    return spelling(" ".join(declared.split())) or detect(declared) or f"{REFERENCE}Other"


def license_of_file(declared: str, content: str, language: str | None = "python") -> str:
    """Return, as an SPDX expression, the licence of a file in this language, in a repository with this licence.

    What the file itself says holds if the repository says nothing, or offers it as a choice. Otherwise both hold: a file can
    narrow what its repository grants, but not widen it.
    """
    repository, own = spdx(declared), declared_inside(content, language)
    if own is None or own == repository:
        return repository
    choices = parse(repository)
    if repository == UNKNOWN_LICENSE or (choices and choices.operator == "OR" and own in map(str, choices.parts)):
        return own
    return spdx(f"({repository}) AND ({own})")


def all_of(names: Iterable[str]) -> str:
    """Return these expressions joined by AND, or "unknown" if there are none."""
    known = sorted(set(names) - {UNKNOWN_LICENSE})
    if len(known) <= 1:
        return known[0] if known else UNKNOWN_LICENSE
    return spdx(" AND ".join(f"({name})" for name in known))


def declared_inside(content: str, language: str | None = "python") -> str | None:
    """Return the expression of the SPDX-License-Identifier in the first lines of a file, or None.

    If there are several, all hold, as REUSE has it.
    """
    if content.find(_MARK, 0, _TOP_CHARACTERS) < 0:
        return None
    # What ends a comment (-->, -}, --]]) may begin with signs that names have.
    pattern, ends = (_IDENTIFIER, "") if language == "python" else (_IDENTIFIER_ANYWHERE, " \t-")
    found = {spdx(match[1].rstrip(ends)) for match in pattern.finditer(content, 0, _TOP_CHARACTERS)}
    return all_of(found) if found else None


def removes(license_name: str, repo_name: str, settings: LicenseSettings) -> str | None:
    """Return why a file with this licence, in this repository, is not kept; None if it is."""
    if settings.opt_out and repository(repo_name) in _opted_out(settings.opt_out):
        return OPTED_OUT
    return _forbids(license_name, settings.allow, settings.unknown)


def rules(settings: LicenseSettings) -> dict[str, str]:
    """Return, for every reason these settings have to remove a file, what it means in words."""
    allowed = {NOT_ALLOWED: f"a licence that is not allowed ({', '.join(settings.allow)})"} if ANY not in settings.allow else {}
    unknown = {NOT_KNOWN: "no licence is declared"} if settings.unknown == "remove" else {}
    opt_out = {OPTED_OUT: "the owner of the repository opted out"} if settings.opt_out else {}
    return {**allowed, **unknown, **opt_out}


@lru_cache(maxsize=4096)
def _forbids(license_name: str, allow: tuple[str, ...], unknown: str) -> str | None:
    name = spdx(license_name)
    if name == UNKNOWN_LICENSE:
        return NOT_KNOWN if unknown == "remove" else None
    allowed = _allowed(allow)
    expression = parse(name)
    satisfied = ANY in allowed or (expression and expression.holds(lambda each: _base(each) in allowed or each in allowed))
    return None if satisfied else NOT_ALLOWED


def _base(name: str) -> str:
    # An exception grants more than the licence, "+" a choice of later ones.
    return name.partition(" WITH ")[0].removesuffix("+")


@lru_cache
def _allowed(allow: tuple[str, ...]) -> frozenset[str]:
    names: set[str] = set()
    for each in allow:
        if each == "permissive":
            names.update(PERMISSIVE)
        elif each == ANY:
            names.add(ANY)
        elif (expression := parse(each)) and not expression.operator:
            names.add(expression.name)
        else:
            hint = nearest(each, ["permissive", ANY, *PERMISSIVE]) or '; give SPDX identifiers, "permissive" or "any"'
            raise CodeparrotError(f'licenses.allow: "{each}" is not a licence{hint}')
    return frozenset(names)


@lru_cache(maxsize=65536)
def repository(name: str) -> str:
    """Return a repository's name in the one spelling that is compared: lower case, without what an address has around it.

    On the large hosts a name is owner and repository, and what follows leads into it (`/tree/main`).
    """
    found = _ADDRESS.match(name.strip().lower())
    host, path = (found["host"], found["path"]) if found else ("", name.strip().lower())
    parts = [part for part in path.partition("/-/")[0].split("/") if part]
    if host in _OWNER_AND_NAME:
        if len(parts) < 2:
            return name.strip().lower()  # the address of an owner, or of the host: no repository
        parts = parts[:2]
    return "/".join(parts).removesuffix(".git")


_OWNER_AND_NAME = ("github.com", "bitbucket.org", "codeberg.org")
_ADDRESS = re.compile(
    r"(?:(?:git\+)?(?:https?|ssh|git)://(?:[^@/]*@)?|git@|(?=(?:www\.)?(?:github\.com|gitlab\.com|bitbucket\.org|codeberg\.org)/))"
    r"(?:www\.)?(?P<host>[^/:]+)(?::\d+(?=/))?[/:](?P<path>[^?#]*)"
)


def opted_out(settings: LicenseSettings) -> dict[str, str]:
    """Return the lines of the opt-out list as they are written, in their order, by what `repository` makes of them."""
    return _opted_out(settings.opt_out)


@lru_cache
def _opted_out(file: str) -> dict[str, str]:
    """Return the lines of the opt-out list, by the names of their repositories."""
    if not file:
        return {}
    try:
        lines = read_text(path_of(file)).replace(BYTE_ORDER_MARK, "").splitlines()
    except CodeparrotError as error:
        raise CodeparrotError(f"licenses.opt_out: {error}") from None
    return {repository(line): line for each in lines if (line := each.partition("#")[0].strip())}

"""Keys and passwords in a program: providers' keys, which detect-secrets knows, and secrets that names give away.

It uses the patterns of detect-secrets and its heuristics for text that only looks like a secret, but not its scanner, which
reads line by line, has process-wide settings and may ask the providers. One pass finds the few places where a pattern can
begin, and the patterns are tried only there. Cost: about 100 us for a file of 20 kB.

False friends are kept: templates (`{key}`), examples and dummies that say so, sequences, UUIDs, hashes (`sha256 = "..."`),
names with dots, paths, and values that consist of words: "mysql_native_password".
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from codeparrot.corpus.secrets.addresses import Finding, after_escape
from codeparrot.corpus.secrets.assignments import MORE_NAMES, MORE_PASSWORD_NAMES, values
from codeparrot.corpus.secrets.key_patterns import PASSWORD_NAMES, Detector, prepared

PYTHON = "python"
PRIVATE_KEY = "private_key"
PASSWORD = "password"  # noqa: S105
SECRET_STRING = "secret_string"  # noqa: S105

BASIC_AUTH = "basic_auth_credentials"
JSON_WEB_TOKEN = "json_web_token"  # noqa: S105

_BEFORE, _AFTER = 256, 2048
"""A pattern is tried within this many characters around a trigger, on its line."""
_JUDGED = 100
"""Characters of a key that may make it an example; somewhere in a long one, such a word stands by chance."""

# After the beginning of a name: its rest; an assignment, comparison, dictionary key or argument; and a string.
_STRING_AFTER = re.compile(
    r"""[\w-]{0,40}["']?[\])]{0,2}[ \t]{0,20}(?::[^=\n"']{1,40}=|[!=]=|:=|=>|[=:,(])[ \t]{0,20}\(?[rRbBuU]{0,2}"""
    r"""(["'])(?P<value>[^"'\\\n]{8,200})\1"""
)
_PLACEHOLDER = re.compile(
    r"example|dummy|sample|change[-_ ]?(?:me|it|this)|placeholder|redacted|insert|your|password|passwd|passphrase|secret|token"
    r"|default|xxxx|\*\*\*|\.\.\.|test|fake|mock|foobar|hunter2|none|null|true|false|undefined",
    re.IGNORECASE,
)
_TEMPLATE = re.compile(r"[{}<>\s]|%[(sd]|^\$")
_PLACE = re.compile(r"://|^[./~\\@]")
# Words in lower case, in capitals or capitalised, with or without a sign between them. Possessive: no backtracking.
_WORDS = r"(?:[A-Z]?[a-z]{2,}+|[A-Z]{2,}+)++"
_ALL_WORDS = re.compile(rf"{_WORDS}(?:[_\-./:]++{_WORDS})*+[_\-.]?[0-9]{{0,3}}|[\w-]++(?:\.[\w-]++)++")
_HASH = re.compile(
    r"sha[-_]?(?:1|2|3|256|384|512)|md5|checksum|digest|fingerprint|hash|commit|revision|etag|uuid|guid", re.IGNORECASE
)
_NAME = re.compile(r"[\w.-]++\Z")
_NAME_LENGTH = 40
_HEX = re.compile(r"[0-9a-fA-F]+")
_SPECIAL = re.compile(r"[!@#$%^&*+=?~]")
_MIN_STRING = 16
_MIN_HEX = 32
_MIN_ENTROPY = 3.5
_MIN_HEX_ENTROPY = 3.0
"""Bits per character, as detect-secrets counts them; its own limit beyond hex, 4.5, is more than 20 characters can have."""
_MIN_PASSWORD_ENTROPY = 2.5

_LONGEST_KEY = 2000
"""Of one that does not say how long it is; a longer run of letters and digits is data."""
_REST = re.compile(rf"(?:-?[A-Za-z0-9_]){{0,{_LONGEST_KEY}}}+(?![A-Za-z0-9_])")
"""What belongs to a key that is longer than the pattern of its kind. Providers lengthen their keys."""
_REST_OF_PASSWORD = re.compile(r"""(?:@[^\s/@:,"'?#]{1,64}+)*(?=@)""")
"""An @ in a password, before the last one of the address."""
_NEXT_PIECE = re.compile(
    r"""(["'])(?:[ \t]*+[+\\][ \t]*+\r?\n|[ \t]*+\r?\n(?=[ \t]))?[ \t]*+(?:\+[ \t]*+)?"""
    r"""[bBrRuU]{0,2}\1[\w=.+/~!@#$%^*-]{1,9999}+(?=\1)"""
)
"""The next string of a secret that is written as several: beside it, behind a plus sign, or on the next line, indented."""
_MOST_PIECES = 100

_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_KEY_LENGTH = 20_000
# A header ("DEK-Info: AES-128-CBC,0A1B...", to the end of its line or string), or a piece of a key.
_KEY_PIECE = re.compile(r"""(?P<header>[A-Za-z][A-Za-z-]{1,30}+:[ ][^\n"'\\]*+)|[A-Za-z0-9+/=]{16,}+""")
# The last lines of a key may be shorter. They stand alone, in strings or not, up to the dashes.
_KEY_REST = re.compile(
    r"""(?:(?<=\n)|(?<=["'])|(?<=\\n)|(?<=\\r))[ \t#*]*+(?P<text>[A-Za-z0-9+/=]{1,15}+)(?=[ \t]*(?:\r?\n|["'\\]))"""
)
_KEY_REST_ANYWHERE = re.compile(
    r"""(?:(?<=\n)|(?<=["'`])|(?<=\\n)|(?<=\\r))[ \t#*]*+(?:(?://+|--|;+|%+|!|'|(?i:rem))[ \t]++)?"""
    r"""(?P<text>[A-Za-z0-9+/=]{1,15}+)(?=[ \t]*(?:\r?\n|["'`\\]))"""
)
"""The same behind the comment signs of other languages."""
_MIXED = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])")
_REST_LENGTH = 120
"""Most characters between the last whole line of a key and the dashes behind it."""
_GAP = 60
"""Most characters between two lines of a key: quotes, escapes, white space, a plus sign."""


def credentials(content: str, language: str = PYTHON) -> Iterator[Finding]:
    """Yield the keys and passwords of a program; a private key comes line by line."""
    lowered = content.lower()
    if len(lowered) != len(content):
        # Some letters become two in lower case, which would shift the places.
        lowered = content.translate(_ASCII_LOWER)
    search = prepared(() if language == PYTHON else MORE_NAMES)
    matches = search.triggers.find_matches_as_indexes(lowered, overlapping=True)
    yield from _private_keys(content, _KEY_REST if language == PYTHON else _KEY_REST_ANYWHERE)
    tried: set[tuple[int, int]] = set()
    for trigger, start, _ in matches:
        if detector := search.detectors[trigger]:
            yield from _of_provider(content, detector, trigger, start, tried)
    for trigger, start, end in matches:
        if not search.detectors[trigger]:
            yield from _named(content, search.names[trigger], start, end, language)


_ASCII_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _of_provider(content: str, detector: Detector, trigger: int, place: int, tried: set[tuple[int, int]]) -> Iterator[Finding]:
    if detector.begins_there:
        if _is_inside(content, place):
            return
        matches = (pattern.match(content, place) for pattern in detector.patterns)
        yield from _findings(content, detector, filter(None, matches))
        return
    line = content.rfind("\n", 0, place) + 1
    # Once per line, or once per stretch of a long line.
    stretch = (trigger, max(line, place - place % _AFTER))
    if stretch in tried:
        return
    tried.add(stretch)
    end = content.find("\n", place, place + 2 * _AFTER)
    end = end if end >= 0 else place + 2 * _AFTER
    for pattern in detector.patterns:
        yield from _findings(content, detector, pattern.finditer(content, max(line, place - _BEFORE), end))


def _findings(content: str, detector: Detector, matches: Iterable[re.Match[str]]) -> Iterator[Finding]:
    for match in matches:
        groups = [match.span(group) for group in range(1, match.re.groups + 1) if match[group]]
        start, end = max(groups, key=lambda span: span[1] - span[0], default=match.span())
        if start == match.start():
            # The group holds only the kind of key ("ghp").
            start, end = match.span()
        value = content[start:end].lstrip(" \t\r\"'=:").rstrip(" \t\r\"':")
        start += content[start:end].index(value)
        if _is_false_friend(value[:_JUDGED]) or _is_inside(content, start) or content.endswith(f"{value}:", 0, start):
            continue
        if end := _whole_end(content, detector.kind, start + len(value)):
            yield Finding(detector.kind, after_escape(content, start), end)


def _whole_end(content: str, kind: str, end: int) -> int:
    """Return where a key ends of which a pattern found the part up to `end`; 0 if it is none after all."""
    if kind == BASIC_AUTH:
        rest = _REST_OF_PASSWORD.match(content, end)
        return rest.end() if rest else end
    if kind != JSON_WEB_TOKEN:
        rest = _REST.match(content, end)
        if not rest:
            return 0
        end = rest.end()
    return _last_piece_end(content, end)


def _last_piece_end(content: str, end: int) -> int:
    """Return where a secret ends that is written as several strings, of which the first ends at `end`."""
    for _ in range(_MOST_PIECES):
        piece = _NEXT_PIECE.match(content, end)
        if not piece:
            break
        end = piece.end()
    return end


def _is_inside(content: str, start: int) -> bool:
    """Whether a place is inside a longer run of letters and digits, where four letters mean nothing; escapes do not count."""
    before = content[start - 1 : start]
    return before.isascii() and before.isalnum() and content[start - 2 : start - 1] != "\\"


def _named(content: str, name: str, start: int, end: int, language: str) -> Iterator[Finding]:
    is_password = name in PASSWORD_NAMES or name in MORE_PASSWORD_NAMES
    known = [match] if (match := _STRING_AFTER.match(content, end)) and name not in MORE_NAMES else []
    for match in known if language == PYTHON else (*known, *values(content, name, start, end, language)):
        if not _is_secret(match["value"], is_password, _whole_name(content, start, match.start("value"))):
            continue
        kind = PASSWORD if is_password else SECRET_STRING
        yield Finding(kind, match.start("value"), _last_piece_end(content, match.end("value")))
        return


def _whole_name(content: str, start: int, end: int) -> str:
    """Return a text from the beginning of the name in which `start` lies (`user.sha256_` of `user.sha256_token`) to `end`."""
    before = _NAME.search(content, max(0, start - _NAME_LENGTH), start)
    return content[before.start() if before else start : end]


def _is_secret(value: str, is_password: bool, name: str) -> bool:
    if _is_false_friend(value) or _ALL_WORDS.fullmatch(value) or _PLACE.search(value) or _HASH.search(name):
        return False
    has_digit, has_letter = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    base64, hexadecimal = _entropies()
    if _HEX.fullmatch(value):
        return len(value) >= _MIN_HEX and hexadecimal.calculate_shannon_entropy(value) >= _MIN_HEX_ENTROPY
    entropy = base64.calculate_shannon_entropy(value)
    if len(value) >= _MIN_STRING and has_digit and has_letter and entropy >= _MIN_ENTROPY:
        return True
    return is_password and has_letter and (has_digit or bool(_SPECIAL.search(value))) and entropy >= _MIN_PASSWORD_ENTROPY


def _is_false_friend(value: str) -> bool:
    from detect_secrets.filters import heuristic

    return bool(
        len(value) < 6
        or _PLACEHOLDER.search(value)
        or _TEMPLATE.search(value)
        or len(set(value)) < 5
        or heuristic.is_potential_uuid(value)
        or heuristic.is_sequential_string(value)
        or heuristic.is_templated_secret(value)
        or heuristic.is_not_alphanumeric_string(value)
    )


@cache
def _entropies() -> tuple[Any, Any]:
    from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString, HexHighEntropyString

    return Base64HighEntropyString(), HexHighEntropyString()


def _private_keys(content: str, last_lines: re.Pattern[str]) -> Iterator[Finding]:
    for begins in _KEY_BEGINS.finditer(content):
        runs = [*_key_runs(content, begins.end(), last_lines)]
        # Function names are runs too; a key has lower-case letters, capitals and digits.
        if any(_MIXED.match(content, start, end) for start, end in runs):
            for start, end in runs:
                yield Finding(PRIVATE_KEY, after_escape(content, start), end, begins.start())


def _key_runs(content: str, start: int, last_lines: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each line of a key; it ends at the next dashes, so no block is read twice."""
    end = content.find("-----", start, start + _KEY_LENGTH)
    for piece in _KEY_PIECE.finditer(content, start, end if end >= 0 else start + _KEY_LENGTH):
        if piece.start() - start > _GAP:
            return
        start = piece.end()
        if not piece["header"]:
            yield piece.span()
    if 0 <= end - start <= _REST_LENGTH:
        yield from (rest.span("text") for rest in last_lines.finditer(content, start, end))

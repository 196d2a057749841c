"""Takes out keys and passwords (credentials.py), e-mail and IP addresses (addresses.py).

A placeholder replaces each of them: within a file, the same one for the same secret and a different one for a different secret.
It is never taken for a secret again. Placeholders consist of letters, digits and underscores, or are addresses reserved for
examples, so a program that parsed still parses.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import count
from typing import Literal, NamedTuple

from codeparrot.corpus.secrets.addresses import EMAIL, ESCAPED_AT, IPV4, IPV6, Finding, emails, ip_addresses
from codeparrot.corpus.secrets.credentials import PYTHON, credentials

Kind = Literal["credentials", "emails", "ip_addresses"]

_FIND = {"credentials": credentials, "emails": emails, "ip_addresses": lambda content, _: ip_addresses(content)}
_ADDRESSES = (EMAIL, IPV4, IPV6)
_OTHERS = "other"
_EXAMPLE_NETWORKS = ("192.0.2.", "198.51.100.", "203.0.113.")
"""Reserved for documentation (RFC 5737)."""


class Redacted(NamedTuple):
    content: str
    counts: dict[str, int]
    """Number of places by kind of secret, in alphabetical order; a private key of many lines counts as one."""


def redact(content: str, kinds: Iterable[Kind], language: str = PYTHON) -> Redacted:
    """Return the text with placeholders, and what was found of these kinds in a file of this language."""
    findings = _without_overlaps([finding for kind in sorted(kinds) for finding in _FIND[kind](content, language)])
    if not findings:
        return Redacted(content, {})
    placeholders: dict[tuple[str, str], str] = {}
    numbers = {family: count(1) for family in (*_ADDRESSES, _OTHERS)}
    pieces, end = [], 0
    for finding in findings:
        value = content[finding.start : finding.end] if finding.block is None else f"block {finding.block}"
        secret = (finding.kind, value.replace(ESCAPED_AT, "@").lower() if finding.kind == EMAIL else value)
        if secret not in placeholders:
            family = finding.kind if finding.kind in _ADDRESSES else _OTHERS
            placeholders[secret] = _placeholder(family, next(numbers[family]))
        is_escaped = finding.kind == EMAIL and ESCAPED_AT in value
        placeholder = placeholders[secret].replace("@", ESCAPED_AT) if is_escaped else placeholders[secret]
        pieces += [content[end : finding.start], placeholder]
        end = finding.end
    places = {(finding.kind, finding.start if finding.block is None else finding.block) for finding in findings}
    return Redacted("".join([*pieces, content[end:]]), dict(sorted(Counter(kind for kind, _ in places).items())))


def _without_overlaps(findings: list[Finding]) -> list[Finding]:
    """Return the findings in order of place; overlapping ones become one, of the kind that was looked for first."""
    joined: list[tuple[int, Finding]] = []
    for order, finding in sorted(enumerate(findings), key=lambda each: (each[1].start, each[0])):
        if not joined or finding.start >= joined[-1][1].end:
            joined.append((order, finding))
            continue
        before, other = joined[-1]
        first = finding if order < before else other
        joined[-1] = min(order, before), first._replace(start=other.start, end=max(other.end, finding.end))
    return [finding for _, finding in joined if finding.start < finding.end]


def _placeholder(kind: str, number: int) -> str:
    if kind == EMAIL:
        return f"email{number}@example.com"
    if kind == IPV6:
        return f"2001:db8::{number:x}"
    if kind == IPV4:
        network, host = divmod(number - 1, 254)
        # Beyond the reserved addresses, 762 in all, come those of a private network (RFC 1918).
        return f"{_EXAMPLE_NETWORKS[network]}{host + 1}" if network < 3 else f"10.{network >> 8}.{network & 255}.{host + 1}"
    # It does not name the kind: "REDACTED_PASSWORD_1" would itself give away a secret to its right.
    return f"REDACTED_{number}"

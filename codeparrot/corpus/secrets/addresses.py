"""E-mail and IP addresses in a program, except those that belong to nobody.

Kept: addresses of example domains and git@, the well-known public name servers, and everything that is not a host on the
internet (loopback, private, documentation and multicast ranges, networks). Version numbers of four parts are not taken for
addresses. Cost: about 50 us for a file of 20 kB; the time grows with its length alone.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import NamedTuple

EMAIL = "email"
IPV4 = "ipv4"
IPV6 = "ipv6"

KEPT_DOMAINS = ("example.com", "example.net", "example.org", "example.edu")
_GENERIC = (
    "academy aero agency app art asia berlin best bio biz blog build business care cat chat church city cloud club codes"
    " coffee com community company consulting coop design dev digital edu education email energy engineer engineering"
    " expert family finance foundation fun games global gmbh gov group guru info ink institute int international jobs land"
    " law legal life live llc london ltd management marketing media mil mobi money museum name net network news ninja nyc"
    " one online org paris partners photo photography press pro productions rocks school science services shop site social"
    " software solutions space store studio swiss systems team tech technology tel today tools training travel ventures vip"
    " website wiki work works world wtf xyz zone"
)
# ISO 3166-1 with ac, eu, su and uk; without py, md and rs, which are endings of files.
_COUNTRIES = (
    "ac ad ae af ag al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc cd cf cg"
    " ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gd ge gf gg gh"
    " gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp"
    " kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc me mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne"
    " nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw qa re ro ru rw sa sb sc sd se sg si sk sl sm sn"
    " so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws"
    " ye yt za zm zw"
)
TOP_LEVELS = frozenset((*_GENERIC.split(), *_COUNTRIES.split()))
"""Top-level domains of mail addresses. Text with another ending is a matrix product (`x@model.weights`), a file name
(icon@2x.png), or an address of an example or a local network (RFC 2606, RFC 6762)."""
OBJECTS = frozenset(("self", "cls"))
"""Not hosts: x@self.net is a matrix product too."""
KEPT_USERS = frozenset("git noreply no-reply donotreply hg svn".split())
NAME_SERVERS = frozenset(
    ipaddress.ip_address(address)
    for address in (
        *"8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 1.1.1.2 1.1.1.3 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220".split(),
        *"4.2.2.1 4.2.2.2 4.2.2.3 4.2.2.4 64.6.64.6 64.6.65.6 94.140.14.14 94.140.15.15 168.63.129.16".split(),
        *"2001:4860:4860::8888 2001:4860:4860::8844 2606:4700:4700::1111 2606:4700:4700::1001 2620:fe::fe 2620:fe::9".split(),
        *"2620:119:35::35 2620:119:53::53".split(),
    )
)
"""Name servers of Google, Cloudflare, Quad9, OpenDNS, Level 3, Verisign, AdGuard and Azure."""

# Each pattern begins with something rare, which makes the search fast, and looks a bounded distance to both sides.
_AT = re.compile(r"@(?=[A-Za-z0-9])")
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}\Z")
# An ending in mixed case is an attribute, as in x@weights.mT.
_DOMAIN = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,8}(?:[A-Za-z]?[a-z]{1,23}|[A-Z]{2,24})(?![\w(\[-])")
_LONGEST_USER = 64
_TEMPLATE_SIGNS = ("%", "{", "}", "$")
_URL_BEFORE = re.compile(r"://[^\s/@]{0,64}\Z")
_SHORT_NUMBER = re.compile(r"[0-9]{1,2}\.")
"""Not a host name but a version, as in module@1.part."""
_THREE_DOTS = re.compile(r"\.(?<=[0-9]\.)[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![\w(])(?!\.[\w])(?!-[A-Za-z])")
_FIRST_OCTET = re.compile(r"(?<![\w.+-])[0-9]{1,3}\Z")
_IPV6 = re.compile(r":(?<=[23][0-9a-fA-F]{3}:)(?<![\w:.][23]...:)[0-9a-fA-F:]{3,34}(?![\w.])")
_FIRST_GROUP = 4
# What makes four numbers a version: a word before them, a comparison as in requirements, or a product as in "Chrome/41.0.2.1".
_VERSION_BEFORE = re.compile(
    r"(?<![a-z])(?:ver(?:sion)?|release|build|section|chapter|rfc|oid|v)[\s\"'=:(,_]{0,8}\Z|[=<>~!]=\s?\Z|[a-z]/\Z",
    re.IGNORECASE,
)


class Finding(NamedTuple):
    """A place in a text, from `start` to before `end`, that holds something private."""

    kind: str
    start: int
    end: int
    block: int | None = None
    """Where the block that holds this line begins; findings with the same block are one secret."""


def emails(content: str) -> Iterator[Finding]:
    for at in _AT.finditer(content):
        place = at.start()
        user = _USER.search(content, max(0, place - _LONGEST_USER), place)
        domain = _DOMAIN.match(content, place + 1)
        if user and domain and not _is_template(content, user.start()) and not _is_kept(user[0].lower(), domain[0].lower()):
            yield Finding(EMAIL, after_escape(content, user.start()), domain.end())


def _is_template(content: str, start: int) -> bool:
    """Whether the text before a user's name makes it a template ("%s@host.org") or part of a URL (http://me:word@host.org)."""
    return content[start - 1 : start] in _TEMPLATE_SIGNS or _URL_BEFORE.search(content, max(0, start - 80), start) is not None


def _is_kept(user: str, domain: str) -> bool:
    if _SHORT_NUMBER.match(domain):
        return True
    labels = domain.split(".")
    example = domain.endswith(KEPT_DOMAINS) and labels[-2] == "example"
    return example or user in KEPT_USERS or labels[-1] not in TOP_LEVELS or labels[0] in OBJECTS


def ip_addresses(content: str) -> Iterator[Finding]:
    for dots in _THREE_DOTS.finditer(content):
        first = _FIRST_OCTET.search(content, max(0, dots.start() - 3), dots.start())
        if first and _is_host(content[first.start() : dots.end()], content[max(0, first.start() - 24) : first.start()]):
            yield Finding(IPV4, first.start(), dots.end())
    for match in _IPV6.finditer(content):
        start, end = match.start() - _FIRST_GROUP, match.end()
        # Two groups could be a slice: numbers[2000::10].
        if len([group for group in content[start:end].split(":") if group]) >= 3 and _is_public(content[start:end]):
            yield Finding(IPV6, start, end)


def _is_host(address: str, before: str) -> bool:
    octets = address.split(".")
    # Four single digits: a section, a version or an example. A zero at the end: a version or a network.
    if octets[3] == "0" or all(len(octet) == 1 for octet in octets) or _VERSION_BEFORE.search(before):
        return False
    return _is_public(address)


def _is_public(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast and parsed not in NAME_SERVERS


_ESCAPE = re.compile(r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.", re.DOTALL)


def after_escape(content: str, start: int) -> int:
    """Return where the text begins after an escape sequence (`\\n` in a string), which is not part of it."""
    backslashes = 0
    while backslashes < start and content[start - backslashes - 1] == "\\":
        backslashes += 1
    escape = _ESCAPE.match(content, start) if backslashes % 2 else None
    return escape.end() if escape else start

"""E-mail and IP addresses in a program, except those that belong to nobody.

An address is found whole, with letters of all scripts in its name and its domain, or not at all. Kept: addresses of example
domains and git@, the well-known public name servers, and everything that is not a host on the internet (loopback, private,
documentation and multicast ranges, networks). Version numbers of four parts are not taken for addresses. Cost: about 50 us for
a file of 20 kB; the time grows with its length alone.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby
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


def _signs() -> str:
    """Return, for a set in a pattern, what belongs to letters and is no letter to `re`.

    These are accents of their own, vowels of Indic and other scripts, joiners, and the soft hyphen.
    """
    marks = [code for code in range(0x10000) if unicodedata.category(chr(code)).startswith("M")]
    runs = [[code for _, code in run] for _, run in groupby(enumerate(marks), key=lambda each: each[1] - each[0])]
    return "".join(rf"\u{run[0]:04x}-\u{run[-1]:04x}" for run in runs) + r"\xad\u200c\u200d\u2060"


_SIGNS = _signs()
# Scripts without spaces between words, and Korean, whose particles follow foreign words without one.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
# A letter beyond ASCII as a string or a page writes it: \xe9, \u00e9, &eacute;, &#233;.
_CODED = (
    r"\\x[89a-fA-F][0-9a-fA-F]|\\u(?!00[0-9a-bA-B])[0-9a-fA-F]{4}|\\U000[01](?!00[0-9a-bA-B])[0-9a-fA-F]{4}"
    r"|&(?:[A-Za-z](?:acute|grave|circ|uml|tilde|cedil|ring|slash|caron)|[A-Za-z]{2}lig|szlig);"
    r"|&#(?:19[2-9]|2[0-9]{2}|[3-9][0-9]{2}|[0-9]{4,5}|[xX](?:[c-fC-F][0-9a-fA-F]|[0-9a-fA-F]{3,4}));"
)
_APOSTROPHE = r"(?<=[dlmnoDLMNO])(?<![^\W_].)\\?['’](?=[^\W_])"
"""As in o'brien and d'angelo; behind other letters, it is the quote of a string."""

# Each pattern begins with something rare, which makes the search fast, and looks a bounded distance to both sides.
_AT = re.compile(rf"@(?<=[\w{_SIGNS}%+;.-]@)(?=[^\W_]|\[[0-9I]|\\[xuU]|&)")
ESCAPED_AT = "\\@"
_AT_ANYWHERE = re.compile(rf"@(?<=[\w{_SIGNS}%+;.\\-]@)(?=[^\W_]|\[[0-9I]|\\[xuU]|&)")
_USERS = re.compile(rf"(?:[\w.%+\-{_SIGNS}]|{_CODED}|{_APOSTROPHE})+")
_FIRST = re.compile(rf"[^\W_]|{_CODED}")
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_LABEL = rf"(?:[^\W_]|[{_SIGNS}-]|{_CODED}){{1,63}}"
# An ending in mixed case is an attribute, as in x@weights.mT.
_DOMAIN = re.compile(
    rf"(?:{_LABEL}\.){{1,8}}(?:(?:xn--[A-Za-z0-9-]{{1,59}}|[A-Za-z]?[a-z]{{1,23}}|[A-Z]{{2,24}})(?!(?![{_UNSPACED}])[\w{_SIGNS}(\[-])"
    rf"|(?:(?![\x00-\x7f])[\w{_SIGNS}]){{2,24}}(?![\w(\[-]))"
)
_DOMAIN_NUMBER = re.compile(r"\[(?:IPv6:)?([0-9a-fA-F:.]{4,45})\]")
_USUAL_USER, _LONGEST_USER = 64, 320
"""RFC 5321 allows 64 characters; mailing lists write whole addresses into theirs."""
_TEMPLATE_SIGNS = ("%", "{", "}", "$")
_TEMPLATE_SIGNS_ANYWHERE = ("%", "$")
"""Where braces hold a text, as in TeX: \\email{jo@host.org}."""
# Behind a name and a colon comes a password, which may hold a slash, unless it is a port.
_URL_BEFORE = re.compile(r"://(?:[^\s/]{0,64}|[^\s/:@]{0,64}:(?![0-9]{1,5}/)[^\s@\"'<>]{1,64})\Z")
_RETURN_PATH = re.compile(r"[\w.-]{1,64}\+[\w.+-]{1,64}=\Z")
"""In front of the domain of an address that another one holds: bounce+jo.doe=host.org@lists.org."""
_SHORT_NUMBER = re.compile(r"[0-9]{1,2}\.")
"""Not a host name but a version, as in module@1.part."""
_THREE_DOTS = re.compile(r"\.(?<=[0-9]\.)[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![\w(])(?!\.[\w])(?!-[A-Za-z])")
_FIRST_OCTET = re.compile(r"(?<![\w.+-])[0-9]{1,3}\Z")
_IPV6 = re.compile(
    r":(?<=[23][0-9a-fA-F]{3}:)(?<![\w:.][23]...:)(?:[0-9a-fA-F:]{0,29}:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-fA-F:]{3,34})(?![\w.])"
)
_FIRST_GROUP = 4
# What makes four numbers a version: a word before them, a comparison as in requirements, or a product as in "Chrome/41.0.2.1".
_VERSION_BEFORE = re.compile(
    r"(?<![a-z0-9])(?:ver(?:sion)?|release|build|section|chapter|rfc|oid|v)[\s\"'=:(,_]{0,8}\Z|[=<>~!]=\s?\Z|[a-z]/\Z",
    re.IGNORECASE,
)


class Finding(NamedTuple):
    """A place in a text, from `start` to before `end`, that holds something private."""

    kind: str
    start: int
    end: int
    block: int | None = None
    """Where the block that holds this line begins; findings with the same block are one secret."""


def emails(content: str, language: str = "python") -> Iterator[Finding]:
    """Yield the e-mail addresses in a file; one with `\\@`, as Perl writes it, counts in other languages than Python."""
    pattern, signs = (_AT, _TEMPLATE_SIGNS) if language == "python" else (_AT_ANYWHERE, _TEMPLATE_SIGNS_ANYWHERE)
    for at in pattern.finditer(content):
        place = at.start() - (content[at.start() - 1] == "\\")
        end = _end_of_domain(content, at.end())
        start = _start_of_user(content, place, end) if end else place
        if start == place or _is_template(content, start, signs):
            continue
        if not _is_kept(content[start:place].lower(), content[at.end() : end].lower()):
            yield Finding(EMAIL, start, end)


def _end_of_domain(content: str, start: int) -> int:
    """Return where the domain ends that begins at `start`; 0 if none does."""
    domain = _DOMAIN.match(content, start)
    if domain or content[start] != "[":
        return domain.end() if domain else 0
    number = _DOMAIN_NUMBER.match(content, start)
    return number.end() if number and _is_public(number[1]) else 0


def _start_of_user(content: str, place: int, domain_end: int) -> int:
    """Return where the user's name before the @ at `place` begins; `place` if there is none, or a text too long for one."""
    for longest in (_USUAL_USER, _LONGEST_USER):
        begin = max(0, place - longest)
        start, end = next(reversed([run.span() for run in _USERS.finditer(content, begin, place)]), (place, place))
        if start > begin or begin == 0:
            break
    else:
        return place
    if end < place:
        return place
    start = after_escape(content, start)
    if content.startswith("'", domain_end) and (quote := content.rfind("'", start, place)) >= 0 and content[quote - 1] != "\\":
        start = quote + 1
    if content[place:domain_end].isascii() and not _UNSPACED_LETTER.match(content, place - 1):
        # The sentence around an address in ASCII goes on up to it.
        start = max((letter.end() for letter in _UNSPACED_LETTER.finditer(content, start, place)), default=start)
    first = _FIRST.search(content, start, place)
    start = first.start() if first else place
    if content[start - 1 : start] == "=" and "." in content[start:place]:
        holder = _RETURN_PATH.search(content, max(0, start - 2 * _USUAL_USER), start)
        return holder.start() if holder else start
    return start


def _is_template(content: str, start: int, signs: tuple[str, ...]) -> bool:
    """Whether the text before a user's name makes it a template ("%s@host.org") or part of a URL (http://me:word@host.org)."""
    return content[start - 1 : start] in signs or _URL_BEFORE.search(content, max(0, start - 140), start) is not None


def _is_kept(user: str, domain: str) -> bool:
    if _SHORT_NUMBER.match(domain):
        return True
    if domain.startswith("["):
        return False
    labels = domain.split(".")
    example = domain.endswith(KEPT_DOMAINS) and labels[-2] == "example"
    # Every top-level domain beyond ASCII is one of mail addresses; its other spelling begins with xn--.
    known = labels[-1] in TOP_LEVELS or not labels[-1].isascii() or labels[-1].startswith("xn--")
    return example or user in KEPT_USERS or not known or labels[0] in OBJECTS


def ip_addresses(content: str) -> Iterator[Finding]:
    # First the longer kind, whose end may look like the other.
    for match in _IPV6.finditer(content):
        start, end = match.start() - _FIRST_GROUP, match.end()
        # Two groups could be a slice: numbers[2000::10].
        if len([group for group in content[start:end].split(":") if group]) >= 3 and _is_public(content[start:end]):
            yield Finding(IPV6, start, end)
    for dots in _THREE_DOTS.finditer(content):
        first = _FIRST_OCTET.search(content, max(0, dots.start() - 3), dots.start())
        if first and _is_host(content[first.start() : dots.end()], content[max(0, first.start() - 24) : first.start()]):
            yield Finding(IPV4, first.start(), dots.end())


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

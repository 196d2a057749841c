"""Every line of a private key is removed, however a program spells it."""

import random

import pytest

from codeparrot.corpus.filters.syntax import is_python
from codeparrot.corpus.secrets.credentials import credentials
from codeparrot.corpus.secrets.redaction import redact
from codeparrot.corpus.secrets.stage import Secrets
from tests.corpus.secrets.made_up import BASE64, draw, private_key

REDACT = Secrets().kinds


def spellings(key: str) -> tuple[str, str, str]:
    """Return programs with a key in one long string, in a string per line, and in a single line."""
    in_pieces = "KEY = (" + "\n".join(f"    '{line}\\n'" for line in key.splitlines()) + ")\n"
    return f'KEY = """\n{key}\n"""\n', in_pieces, "KEY = " + repr(key) + "\n"


def test_every_line_of_a_private_key_goes_and_it_counts_once() -> None:
    for kind in ("RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED "):
        key = private_key(random.Random(kind), kind)
        for content in spellings(key):
            redacted, counts = redact(content, REDACT)
            assert counts == {"private_key": 1}
            assert not any(line in redacted for line in key.splitlines()[1:-1])
            assert is_python(redacted)
            assert redacted.count("REDACTED_1") == 13


@pytest.mark.parametrize("rest", [["aB1="], ["hGFRlvQjdvd1N=="], ["LEIVY0G", "=Ab1d"]])
def test_the_short_last_lines_of_a_private_key_go_too(rest: list[str]) -> None:
    *lines, end = private_key(random.Random(0)).splitlines()
    for content in spellings("\n".join([*lines, *rest, end])):
        redacted, counts = redact(content, REDACT)
        assert counts == {"private_key": 1}
        assert not any(line in redacted for line in [*lines[1:], *rest])
        assert end in redacted and is_python(redacted)


def test_code_around_the_last_line_of_a_private_key_stays() -> None:
    *lines, end = private_key(random.Random(0)).splitlines()
    pieces = [f'key += "{line}\\n"\n' for line in [*lines, "aB1=", end]]
    redacted = redact("key = ''\n" + "".join(pieces), REDACT).content
    assert redacted.splitlines()[-2:] == ['key += "REDACTED_1\\n"', f'key += "{end}\\n"']


def test_every_line_of_an_encrypted_private_key_goes_and_its_headers_stay() -> None:
    begin, *lines = private_key(random.Random(0)).splitlines()
    headers = ["Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC,0A1B2C3D4E5F60718293A4B5C6D7E8F9", ""]
    for content in spellings("\n".join([begin, *headers, *lines])):
        redacted, counts = redact(content, REDACT)
        assert counts == {"private_key": 1}
        assert not any(line in redacted for line in lines[:-1])
        assert all(header in redacted for header in headers)
        assert is_python(redacted)


def test_a_private_key_whose_first_line_has_no_small_letter_goes() -> None:
    begin, *lines = private_key(random.Random(0)).splitlines()
    lines[0] = lines[0].upper()
    for content in spellings("\n".join([begin, *lines])):
        redacted, counts = redact(content, REDACT)
        assert counts == {"private_key": 1}
        assert not any(line in redacted for line in lines[:-1])


def test_a_private_key_without_an_end_stops_at_the_next_block() -> None:
    line = draw(random.Random(0), BASE64, 60) + "aB1z"
    content = "x = '''-----BEGIN PRIVATE" + f" KEY-----\n-----BEGIN CERTIFICATE-----\n{line}\n'''\n"
    assert redact(content, REDACT) == (content, {})


def test_no_line_of_a_private_key_is_looked_at_twice() -> None:
    begins = 500
    content = ("-----BEGIN PRIVATE" + " KEY-----\naB1aB1aB1aB1aB1a\n") * begins
    assert len([*credentials(content)]) == begins

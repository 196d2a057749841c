import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.decode import decode


@given(st.text())
def test_utf8_is_decoded_as_it_is(text: str) -> None:
    # A first line without "coding" keeps hypothesis from writing a coding line.
    assert decode(f"#\n#\n{text}".encode()) == f"#\n#\n{text}"


def test_line_ends_are_kept() -> None:
    assert decode(b"a\r\nb\rc\n") == "a\r\nb\rc\n"


def test_a_byte_order_mark_is_not_text() -> None:
    assert decode(codecs.BOM_UTF8 + "é".encode()) == "é"


def test_a_coding_line_is_honoured() -> None:
    text = "# -*- coding: latin-1 -*-\nname = 'é'\n"
    assert decode(text.encode("latin-1")) == text


@pytest.mark.parametrize(
    "content",
    [
        b"name = '\xe9'\n",
        b"# coding: utf-8\nname = '\xe9'\n",
        b"# coding: no-such-encoding\n",
        b"# coding: rot13\n",
        codecs.BOM_UTF8 + b"# coding: latin-1\n",
        b"# coding: unicode_escape\nname = '\\ud800'\n",
        "a lone surrogate \ud800",
    ],
)
def test_what_is_in_no_declared_encoding_is_undecodable(content: bytes | str) -> None:
    assert decode(content) is None

import codecs
import time

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


@pytest.mark.parametrize("encoding", ["punycode", "idna", "utf-7", "unicode_escape", "raw_unicode_escape", "cp037"])
def test_a_codec_that_is_no_encoding_of_source_files_is_refused_at_once(encoding: str) -> None:
    content = b"# coding: " + encoding.encode() + b"\n" + b"abc-9a" * 50_000
    start = time.perf_counter()
    assert decode(content) is None
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis", "euc-jp", "gb18030", "iso-2022-jp", "koi8-r", "utf-8-sig", "big5"])
def test_every_encoding_in_which_ascii_is_itself_is_honoured(encoding: str) -> None:
    text = f"# coding: {encoding}\nname = 'a\\n~{{}}'\n"
    assert decode(text.encode(encoding)) == text

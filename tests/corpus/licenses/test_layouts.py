"""One licence in the layouts that projects give it."""

import re
import textwrap

import pytest
from identify.vendor.licenses import LICENSES

from codeparrot.corpus.licenses.rules import LicenseSettings, removes, spdx
from codeparrot.corpus.licenses.texts import detect

TEXTS = dict(LICENSES)


def wrapped(text: str, width: int) -> str:
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(textwrap.fill(" ".join(paragraph.split()), width) for paragraph in paragraphs)


@pytest.mark.parametrize("lead", ["", "// ", " * "])
@pytest.mark.parametrize("width", [38, 61, 72, 99])
def test_a_licence_is_recognised_wherever_its_lines_break(width: int, lead: str) -> None:
    wrong = {}
    for name, text in TEXTS.items():
        if (found := detect(textwrap.indent(wrapped(text, width), lead))) != spdx(name):
            wrong[name] = found
    assert not wrong


@pytest.mark.parametrize(
    "bullets", [("   * ", "   * ", "   * "), ("a) ", "b) ", "c) "), ("1) ", "2) ", "3) "), ("- ", "- ", "- ")]
)
def test_the_bsd_licence_with_a_name_of_ones_own_in_any_list(bullets: tuple[str, str, str]) -> None:
    text = TEXTS["BSD-3-Clause"].replace("BSD 3-Clause License", "")
    for number, bullet in enumerate(bullets, 1):
        text = text.replace(f"{number}. ", bullet)
    # As Go, Protocol Buffers, LevelDB and much else of Google's has it.
    text = text.replace("the copyright holder nor the names of its", "Example Inc. nor the names of its")
    text = text.replace("COPYRIGHT HOLDER OR", "COPYRIGHT OWNER OR")
    assert "Example" in text and "OWNER" in text
    assert detect(wrapped(text, 64)) == "BSD-3-Clause"


def test_the_licence_of_tcl_is_recognised_and_permissive() -> None:
    terms = """This software is copyrighted by the Example Corporation and other parties.

The authors hereby grant permission to use, copy, modify, distribute,
and license this software and its documentation for any purpose,
provided that existing copyright notices are retained in all copies
and that this notice is included verbatim in any distributions."""
    assert detect(terms) == "TCL"
    assert removes("TCL", "name", LicenseSettings()) is None

"""The words that names in code are made of."""

import pytest

from codeparrot.eval.identifiers import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("readCSVFile_2(self.HTTPServer)", "read csv file 2 self http server"),
        ("naïve, Übergröße ÄÖÜName", "naïve übergröße äöü name"),
        ("x2Y __init__ 10e5", "x 2 y init 10 e 5"),
        ("\u8bfb\u53d6 table", "\u8bfb\u53d6 table"),
        ("nai\u0308ve", "naïve"),
        ("?!", ""),
    ],
)
def test_identifiers_are_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_capital_dotted_i_keeps_its_place() -> None:
    """In small letters it is two characters."""
    assert words("\u0130stanbulMap") == ["\u0130stanbul".lower(), "map"]

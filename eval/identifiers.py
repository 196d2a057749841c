"""The words that names in code are made of."""

import re
import unicodedata

_WORD = re.compile(r"A+(?=Aa)|A?a+|A+|0+")
"""In a text whose capitals are A, other letters a, and digits 0."""


def words(text: str) -> list[str]:
    """Return the words of a text in small letters; `readCSVFile_2` is read, csv, file and 2."""
    text = unicodedata.normalize("NFC", text)  # an accent that stands alone is no letter
    # A class of capitals, whatever the script, is what `re` does not have.
    shape = "".join(map(_shape, text))
    return [text[found.start() : found.end()].lower() for found in _WORD.finditer(shape)]


def _shape(character: str) -> str:
    if character.isdecimal():
        return "0"
    if not character.isalnum():
        return " "
    return "A" if character.isupper() else "a"

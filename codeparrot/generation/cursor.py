"""What stands in front of the cursor and behind it: from options, files, or a pipe.

Guarantee: text is taken as it is; what is not text, or names no place in it, is one line that says where.
"""

import os
import re
import sys
from typing import NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.text_files import BYTE_ORDER_MARK, decoded, read_text

STDIN = "-"


class Around(NamedTuple):
    """The text around a cursor."""

    before: str
    behind: str = ""
    """Empty: nothing is known to follow."""


def read_around(
    prompt: str = STDIN,
    file: str | None = None,
    cursor: str | None = None,
    suffix: str = "",
    suffix_file: str | None = None,
) -> Around:
    """Return the text around the cursor; the arguments are options of `codeparrot complete`.

    Raises:
        CodeparrotError: they contradict each other, or something is not text, or the cursor is nowhere in it.
    """
    if suffix and suffix_file is not None:
        raise CodeparrotError("--suffix and --suffix_file were both given: give one of them")
    if cursor is not None and (suffix or suffix_file is not None):
        raise CodeparrotError("--cursor says where the suffix begins: leave --suffix and --suffix_file out")
    text = _read_prompt(prompt, file)
    if cursor is not None:
        return split(text, cursor, file or "the text")
    behind = read_text(path_of(suffix_file)) if suffix_file is not None else _checked(suffix, "the suffix")
    return Around(text, behind)


def split(text: str, cursor: str, name: str) -> Around:
    """Split a text at LINE:COLUMN, both counted from 1, as editors show them. Column 1 is before the line's first character.

    Args:
        text: lines end in a newline alone.
        cursor: the place; a column counts characters.
        name: of the text, for errors.

    Raises:
        CodeparrotError: the cursor is no place, or not in the text.
    """
    place = re.fullmatch(r"([1-9][0-9]{0,9}):([1-9][0-9]{0,9})", cursor)
    if place is None:
        raise CodeparrotError(f"--cursor {cursor} is no place: write LINE:COLUMN, both counted from 1, as 12:5")
    number, column = int(place[1]), int(place[2])
    lines = text.split("\n")
    if number > len(lines):
        raise CodeparrotError(f"--cursor {cursor} is behind the end of {name}: its last line is {len(lines)}")
    line = lines[number - 1]
    if column > len(line) + 1:
        holds = f"line {number} of {name} has {len(line)} character{'' if len(line) == 1 else 's'}"
        raise CodeparrotError(
            f"--cursor {cursor} is behind the end of its line: {holds}, so its last column is {len(line) + 1}"
        )
    at = sum(len(each) + 1 for each in lines[: number - 1]) + column - 1
    return Around(text[:at], text[at:])


def _read_prompt(prompt: str, file: str | None) -> str:
    if file is not None and prompt != STDIN:
        raise CodeparrotError("--prompt and --file were both given: give one of them")
    if file is None and prompt == STDIN and (sys.stdin.isatty() or getattr(sys.stdin, "name", "") == os.devnull):  # or closed
        raise CodeparrotError("no prompt: give --prompt TEXT or --file PATH, or pipe it in")
    if file is not None:
        return read_text(path_of(file))
    return decoded(sys.stdin.buffer.read(), "the prompt") if prompt == STDIN else _checked(prompt, "the prompt")


def _checked(text: str, name: str) -> str:
    """Return a text from the command line, without a byte order mark."""
    try:
        text.encode()
    except UnicodeError as error:
        raise CodeparrotError(f"{name} is not UTF-8: convert it first") from error
    return text.removeprefix(BYTE_ORDER_MARK)

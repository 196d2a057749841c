"""Prompts that already hold sentinels, of whatever model the client takes this one for: they are cut into their parts.

Guarantees: the parts of a prompt that a known client renders are the texts it was given; a prompt without sentinels in the
order of a dialect is one text, unchanged; time grows with the prompt's length alone.

Clients choose the dialect by the model's name, and an unknown name gets StarCoder's or CodeLlama's. Each dialect marks the same
three parts. Whatever is written behind the middle's mark is the beginning of the middle, and so the prefix goes on with it:
that is all there is to SPM, where the whole prefix stands there.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from codeparrot.stream.sentinels import FILE_SEP, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, REPO_NAME


class Parts(NamedTuple):
    """What a prompt says."""

    prefix: str
    suffix: str | None = None
    """Text behind the cursor, which may be empty; None where the prompt has no place for one."""
    extra: tuple[str, ...] = ()
    """Texts of other files, in the prompt's order. A line with a file's or repository's name is not a part of them: the model
    reads documents without names."""


class _Marks(NamedTuple):
    prefix: str
    suffix: str
    middle: str
    spaced: bool = False
    """Whether a space that is no part of the text stands between a mark and it."""
    leading: bool = False
    """Whether the marks are ordinary text, too, and only count at the beginning of a prompt."""


_DIALECTS = (
    _Marks(FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE),  # StarCoder, StableCode, Granite, and our own
    _Marks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen, CodeGemma
    _Marks("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
    _Marks("<PRE>", "<SUF>", "<MID>", spaced=True),  # CodeLlama
    _Marks("[PREFIX]", "[SUFFIX]", "[MIDDLE]", leading=True),  # Codestral
    _Marks("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    _Marks("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # CodeGeeX
)
_CURSOR = "<|FIM|>"
"""Tabby's place of the cursor, where nobody replaced it."""
_FILES = ("<file_sep>", FILE_SEP, "<|file_separator|>")
_REPOSITORIES = ("<repo_name>", "<reponame>", REPO_NAME)
_SEPARATOR = re.compile("|".join(map(re.escape, (*_FILES, *_REPOSITORIES))))
_PATH = re.compile(r"(?=[^./\\]*[./\\])[\w./\\@+~-]+")
"""A line that is a path: one word with a dot or a slash in it."""


def parts_of(prompt: str) -> Parts:
    """Return what a prompt says: prefix, suffix and other files where sentinels mark them, else one text to continue."""
    for marks in _DIALECTS:
        if found := _filled(prompt, marks):
            return found
    if prompt.count(_CURSOR) == 1:
        before, _, behind = prompt.partition(_CURSOR)
        return Parts(before, behind)
    if _SEPARATOR.match(prompt):  # a client that has nothing behind the cursor marks the files alone
        *files, current = _files(prompt)
        return Parts(current, None, _without_blanks(files))
    return Parts(prompt)


def current_path(prompt: str) -> str:
    """Return the path of the file that a prompt's cursor is in, where marks of files name it; else an empty text."""
    marks = [place for each in _DIALECTS for mark in each[:3] if (place := prompt.find(mark)) >= 0]
    head = prompt[: min(marks, default=len(prompt))]
    found = list(_SEPARATOR.finditer(head))
    if not found or found[-1][0] in _REPOSITORIES:
        return ""
    name, _, rest = head[found[-1].end() :].partition("\n")
    # In front of a prefix's mark stands the name alone: whatever follows a name there is another file.
    return name.strip() if _PATH.fullmatch(name.strip()) and not (marks and rest.strip()) else ""


def _filled(prompt: str, marks: _Marks) -> Parts | None:
    """Return the parts of a prompt with all marks of a dialect in one of its orders."""
    prefix_at, suffix_at = prompt.find(marks.prefix), prompt.find(marks.suffix)
    if min(prefix_at, suffix_at) < 0:
        return None
    head = prompt[: min(prefix_at, suffix_at)]
    # Code about sentinels has them somewhere; a rendered prompt begins with them, or with files, or ends with the middle's.
    if head and (marks.leading or not (_SEPARATOR.match(head) or prompt.endswith(marks.middle))):
        return None
    if prefix_at < suffix_at:
        before = prompt[prefix_at + len(marks.prefix) : suffix_at]
        behind, mark, begun = prompt[suffix_at + len(marks.suffix) :].rpartition(marks.middle)
        if not mark:
            return None
    else:
        behind, _, rest = prompt[suffix_at + len(marks.suffix) :].partition(marks.prefix)
        before, mark, begun = rest.partition(marks.middle)
        if not (mark or marks.leading):
            return None
    if marks.spaced:
        before, behind, begun = before.removeprefix(" ").removesuffix(" "), _unspaced(behind), begun.removeprefix(" ")
    if not _SEPARATOR.search(head):
        return Parts(head + before + begun, behind)
    # The current file begins with the prefix's mark: in front of it stands its name at most, and some clients leave that out.
    return Parts(before + begun, behind, _without_blanks(_files(head)))


def _unspaced(suffix: str) -> str:
    """Return a suffix of CodeLlama's dialect without the spaces around it.

    Meta's form has none before the suffix, and some clients write one. It goes before a line's end alone, where nobody misses
    it: anywhere else it may be the suffix's own.
    """
    suffix = suffix.removesuffix(" ")
    return suffix.removeprefix(" ") if suffix.startswith((" \n", " \r")) else suffix


def _files(text: str) -> list[str]:
    """Return the texts between the marks of files, without the lines that name them."""
    first, *others = _SEPARATOR.split(text)
    marks = _SEPARATOR.findall(text)
    return [first, *(_unnamed(piece, mark in _REPOSITORIES) for piece, mark in zip(others, marks, strict=True))]


def _without_blanks(files: Sequence[str]) -> tuple[str, ...]:
    return tuple(file for file in files if file.strip())


def _unnamed(piece: str, is_repository: bool) -> str:
    """Return the text of a file without the line that names it."""
    name, _, rest = piece.partition("\n")
    return rest if is_repository or _PATH.fullmatch(name.strip()) else piece

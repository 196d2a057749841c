"""The one way to read a text file that a user wrote.

Whatever editor wrote it, it is UTF-8, with a byte order mark or without, or UTF-16 or UTF-32 with its mark. Anything else is an
error that names the file and the byte: no text is guessed.
Memory: the whole file.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from codeparrot.errors import CodeparrotError

if TYPE_CHECKING:
    import yaml

BYTE_ORDER_MARK = "\ufeff"
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(place: Path) -> str:
    """Return the text of a user's file, as `decoded` does.

    Raises:
        CodeparrotError: the file cannot be read, or is not text; it names the file, and the byte.
    """
    return decoded(_content(place), str(place))


def decoded(content: bytes, name: str) -> str:
    """Return the text of bytes that a user gave, without the byte order mark, and with each line ended by a newline alone.

    Raises:
        CodeparrotError: they are not text in UTF-8, or in what their byte order mark says; it has `name` and the byte, from 0.
    """
    found = ((mark, encoding) for mark, encoding in _ENCODINGS if content.startswith(mark))
    mark, encoding = next(found, (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        byte = len(mark) + error.start
        lines = content[: error.start].count(b"\n") + 1
        where = f"byte {byte} is {content[byte]:#04x}{f', in line {lines}' if encoding == 'utf-8' else ''}"
        remedy = "convert it, for example with iconv -f latin1 -t utf-8"
        raise CodeparrotError(f"{name} is not {encoding[:6].rstrip('-').upper()}: {where}; {remedy}") from None
    zero = text.find("\0")
    if zero >= 0:
        byte = len(mark) + len(text[:zero].encode(encoding))
        remedy = "it is damaged, or in UTF-16 without its byte order mark; convert it to UTF-8"
        raise CodeparrotError(f"{name} is not text: byte {byte} is zero; {remedy}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def json_lines(place: Path) -> Iterator[tuple[str, Any]]:
    """Yield where each line of a user's JSON-lines file lies, for errors, and its value. The file may be packed (.gz).

    Blank lines are skipped, and so is the byte order mark of each file where several were joined.

    Raises:
        CodeparrotError: the file cannot be read, or is not text, or a line is not JSON.
    """
    for number, line in enumerate(read_text(place).split("\n"), 1):
        if line := line.strip().lstrip(BYTE_ORDER_MARK):
            where = f"{place}, line {number}"
            try:
                yield where, json.loads(line, parse_constant=_no_json)
            except (ValueError, RecursionError) as error:
                raise CodeparrotError(f"{where}: not JSON: {error}") from None


def require_characters(value: Any, where: str) -> None:
    """Raise CodeparrotError, with `where`, if a value holds half a character: JSON can spell one, and no text can hold it."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start]).strip("'")
        raise CodeparrotError(f"{where}: {half} is half a character (a lone surrogate); mend or remove it") from None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")


DEEPEST = 100
"""Mappings and lists inside one another in a file of settings."""


def repeated_key(text: str) -> tuple[str, int, int] | None:
    """Return the first key that stands twice in one mapping of a YAML or JSON text, with both lines, counted from 1.

    Readers of both keep the second and drop the first without a word. In a recipe `optim.lr: 1` is also a part of `optim`, so
    that a section `optim` beside it repeats it.

    Raises:
        yaml.YAMLError: the text is not YAML, or nested so deeply that a reader of it would end the process.
    """
    import yaml

    if text.lstrip().startswith(("{", "[")):
        # JSON that is not YAML: tabs between words, and characters spelled as two surrogates, which go where no character is.
        text = re.sub(r"\\u[dD](?=[89a-fA-F])", r"\\ue", text.replace("\t", " "))  # codespell:ignore ue
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.YAMLError(f"nested more than {DEEPEST} deep")
    root = yaml.compose(text, Loader=loader)
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias leads to a node that was seen, maybe to one that it is a part of
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            if found := _repeated_in(node):
                return found
            waiting += [value for _, value in node.value]
    return None


def syntax_error(error: "yaml.MarkedYAMLError", text: str) -> str:
    """Return the line at which a text is not YAML and what is wrong there, in words that need no grammar of YAML."""
    problem, mark = error.problem or error.context or "", error.problem_mark or error.context_mark
    if mark is None:
        return problem
    context, lines = error.context or "", text.splitlines()
    begun = min((error.context_mark or mark).line + 1, len(lines))
    if "quoted scalar" in context:
        return f"line {begun}: a quote is not closed"
    if "flow" in context:
        return f"line {begun}: a bracket is not closed"
    line = lines[mark.line] if mark.line < len(lines) else ""
    sign = line[mark.column : mark.column + 1]
    if "cannot start any token" in problem:
        words = "a tab; indent with spaces" if sign == "\t" else f"a value that begins with {sign} needs quotes"
    elif sign in ("*", "&", "!") or "alias" in context or "anchor" in context:
        sign = next(each for each in "*&!" if each in line)
        words = f"a value that begins with {sign} needs quotes"
    elif "mapping values" in problem:
        words = "this line or the one before it has a wrong indentation, or no `: ` behind its name"
    elif "block" not in context:
        words = problem
    elif line[: mark.column].strip():
        words = f'"{line[mark.column :].strip()[:40]}" cannot stand there'
    else:
        words = "it is indented differently from the lines above"
    return f"line {mark.line + 1}: {words}"


def _repeated_in(mapping: Any) -> tuple[str, int, int] | None:
    lines: dict[str, int] = {}
    parts: dict[str, int] = {}
    for key, _ in mapping.value:
        name, line = str(key.value), key.start_mark.line + 1
        sections = [name[:end] for end, character in enumerate(name) if character == "."]
        for each, before in ((name, lines), (name, parts), *((section, lines) for section in sections)):
            if each in before:
                return each, before[each], line
        lines[name] = line
        parts.update((section, line) for section in sections)
    return None


def _content(place: Path) -> bytes:
    """Return the bytes of a file, unpacked where its name ends in .gz."""
    import gzip
    import zlib

    try:
        content = place.read_bytes()
        return gzip.decompress(content) if place.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        system = getattr(error, "strerror", None)
        why = system or f"{error}; if it is damaged or was cut, fetch it again"
        raise CodeparrotError(f"{place} cannot be read: {why}") from error

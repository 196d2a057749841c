"""Jupyter notebooks before they are judged: left as JSON, removed, or turned into a script or into text, code and output.

Scripts are in the percent format that editors and Jupytext know: each cell begins with a line `# %%`, text is commented. What
only IPython reads (`%time f()`, `!ls`, `name?`) becomes a comment, so a notebook of Python cells is a Python program. Outputs
are left out. StarCoder (Li et al. 2023, section 3.2) made its scripts with Jupytext.

Pairs are StarCoder's structured notebooks: cells of one kind that follow each other are one, each text is followed by its code,
and by the output of its last cell. StarCoder's sentinels are lines of plain text here.

Formats 2, 3 and 4 of notebooks are read. Cost: that of `json.loads`; the time grows with the length alone.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple, get_args

from codeparrot.corpus.filters.syntax import is_python
from codeparrot.errors import CodeparrotError
from codeparrot.languages.names import canonical

NOTEBOOK = "jupyter-notebook"
STRUCTURED = "jupyter-structured"
"""Language of pairs; no rule knows its syntax."""

REMOVED = "notebook"
DAMAGED = "notebook_damaged"
EMPTY = "notebook_empty"
NO_LANGUAGE = "notebook_language"

START, TEXT, CODE, OUTPUT, NO_OUTPUT = (
    f"<{each}>" for each in ("jupyter_start", "jupyter_text", "jupyter_code", "jupyter_output", "empty_output")
)

COMMENT_SIGNS = {
    **dict.fromkeys(("python", "r", "julia", "shell", "ruby", "perl", "powershell", "elixir", "tcl", "gnuplot", "sage"), "#"),
    **dict.fromkeys(("c", "c++", "c#", "f#", "go", "groovy", "java", "javascript", "kotlin", "php", "rust", "scala"), "//"),
    **dict.fromkeys(("swift", "typescript", "zig"), "//"),
    **dict.fromkeys(("haskell", "lua", "sql"), "--"),
    **dict.fromkeys(("matlab", "erlang", "prolog"), "%"),
    **dict.fromkeys(("clojure", "scheme", "common-lisp"), ";;"),
    "fortran": "!",
}
"""What begins a comment that ends with its line, for the languages of kernels."""
_KERNELS = {"ipython": "python", "ir": "r", "xcpp": "c++", "evcxr": "rust", "ijavascript": "javascript", "tslab": "typescript"}
_VERSION = re.compile(r"[-_ ]*\d+(?:\.\d+)*\Z")

Mode = Literal["keep", "scripts", "pairs", "remove"]


@dataclass(frozen=True)
class NotebookSettings:
    """What becomes of Jupyter notebooks."""

    mode: Mode = "keep"
    """keep: their JSON is the document; scripts: one script with cells, in the language of the kernel, without outputs; pairs:
    texts, code and outputs in turns, as in StarCoder's structured notebooks; remove: none enters the corpus."""
    max_size: int = 16_000_000
    """Largest notebook to turn into something else, in bytes of its file: pictures in the outputs make most of it.
    `filters.max_size` applies to what it becomes."""
    max_output: int = 2000
    """Characters of an output that pairs keep, from its beginning."""

    def check(self) -> None:
        """Raise CodeparrotError if there is no such mode, or a number is below 1."""
        if self.mode not in get_args(Mode):
            raise CodeparrotError(f'notebooks.mode: there is no "{self.mode}"; it can be {", ".join(get_args(Mode))}')
        for name in ("max_size", "max_output"):
            if getattr(self, name) < 1:
                raise CodeparrotError(f"notebooks.{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def converts(self) -> bool:
        return self.mode in ("scripts", "pairs")

    def rules(self) -> dict[str, str]:
        """Return, for every reason these settings have to remove a notebook, what it means in words."""
        if self.mode == "remove":
            return {REMOVED: "a Jupyter notebook"}
        language = {NO_LANGUAGE: "a notebook that names no language, or one whose comments are not known here"}
        empty = {EMPTY: "a notebook without code" if self.mode == "scripts" else "a notebook without text that code follows"}
        damaged = {DAMAGED: f"no notebook of format 2 to 4, or one of more than {self.max_size:,} bytes"}
        return {**damaged, **(language if self.mode == "scripts" else {}), **empty} if self.converts else {}


class Converted(NamedTuple):
    content: str
    language: str


class Cell(NamedTuple):
    kind: str
    """code, markdown or raw."""
    source: str
    output: str = ""


def convert(content: str, settings: NotebookSettings) -> Converted | str:
    """Return what a notebook becomes, or the reason for removing it."""
    if settings.mode == "keep":
        return Converted(content, NOTEBOOK)
    if settings.mode == "remove":
        return REMOVED
    notebook = _parse(content) if len(content.encode()) <= settings.max_size else None
    if notebook is None:
        return DAMAGED
    if settings.mode == "pairs":
        text = pairs(notebook.cells, settings.max_output)
        return Converted(text, STRUCTURED) if text else EMPTY
    if not any(cell.kind == "code" and cell.source.strip() for cell in notebook.cells):
        return EMPTY
    if notebook.language not in COMMENT_SIGNS:
        return NO_LANGUAGE
    return Converted(script(notebook.cells, notebook.language), notebook.language)


class Notebook(NamedTuple):
    cells: list[Cell]
    language: str
    """Of its kernel; empty if it names none."""


def _parse(content: str) -> Notebook | None:
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(read, dict) or read.get("nbformat") not in (2, 3, 4):
        return None
    raw = _cells_of(read)
    if raw is None:
        return None
    try:
        cells = [_cell(each) for each in raw]
        # Lone surrogates, which JSON may hold, are not text.
        "".join(cell.source + cell.output for cell in cells).encode()
    except (TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        return None
    return Notebook([cell for cell in cells if cell.source.strip()], _language(read, raw))


def _cells_of(read: dict[str, Any]) -> list[Any] | None:
    if isinstance(read.get("cells"), list):
        return read["cells"]
    sheets = read.get("worksheets")
    if not isinstance(sheets, list) or not all(
        isinstance(each, dict) and isinstance(each.get("cells"), list) for each in sheets
    ):
        return None
    return [cell for sheet in sheets for cell in sheet["cells"]]


def _cell(cell: dict[str, Any]) -> Cell:
    kind = cell.get("cell_type")
    if kind == "code":
        source = cell["source"] if "source" in cell else cell.get("input", "")
        outputs = [text for each in cell.get("outputs") or [] if (text := _output(each))]
        return Cell("code", _joined(source), "".join(text if text.endswith("\n") else f"{text}\n" for text in outputs))
    source = _joined(cell.get("source", ""))
    if kind == "heading":
        return Cell("markdown", f"{'#' * min(6, max(1, int(cell.get('level') or 1)))} {source}")
    return Cell("markdown" if kind == "markdown" else "raw", source)


def _joined(source: Any) -> str:
    """Return a multi-line text: a string, or a list of lines with their ends."""
    return source if isinstance(source, str) else "".join(source)


def _output(output: dict[str, Any]) -> str:
    """Return an output as text; empty for pictures."""
    if output.get("output_type") in ("error", "pyerr"):
        return f"{output.get('ename', '')}: {output.get('evalue', '')}"
    data = output.get("data")
    text = data.get("text/plain", "") if isinstance(data, dict) else output.get("text", "")
    return _joined(text)


def _language(read: dict[str, Any], cells: list[Any]) -> str:
    metadata = read.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    groups = [each if isinstance(each, dict) else {} for each in (known.get("language_info"), known.get("kernelspec"))]
    of_cells = [cell.get("language") for cell in cells if cell.get("cell_type") == "code"][:1]
    named = (groups[0].get("name"), groups[1].get("language"), *of_cells, groups[1].get("name"))
    for name in named:
        if isinstance(name, str) and name.strip():
            language = canonical(_VERSION.sub("", name))
            return _KERNELS.get(language, language)
    return ""


def script(cells: list[Cell], language: str) -> str:
    """Return the cells as a script in the percent format."""
    sign = COMMENT_SIGNS[language]
    pieces = []
    for cell in cells:
        mark = "" if cell.kind == "code" else f" [{cell.kind}]"
        body = _code(cell.source, language) if cell.kind == "code" else _commented(cell.source, sign)
        pieces.append(f"{sign} %%{mark}\n{body.rstrip()}\n")
    return "\n".join(pieces)


def _commented(text: str, sign: str) -> str:
    # Every end of a line, of any script: a comment ends at U+2028 in JavaScript.
    return "\n".join(f"{sign} {line}".rstrip() for line in text.splitlines())


_CELL_MAGIC = re.compile(r"\s*%%(?P<name>[A-Za-z]\w*)")
_RUNS_ITS_CELL = frozenset("capture prun time timeit memit mprun".split())
"""Magics that run the rest of their cell in its own language; others hand it to something else."""
_IPYTHON = re.compile(
    r"""(?P<indent>[ \t]*)(?: [%!?]
        | [A-Za-z_][\w., \[\]"'()]{0,200}+ =[ \t]* (?: ! | %[A-Za-z] )
        | [A-Za-z_][\w.]{0,200}+ \?{1,2}\s*\Z )""",
    re.VERBOSE,
)
# Comments and strings; what is not closed runs to the end of its line, or of the cell.
_LEXEME = re.compile(
    r"""\#[^\n]*+ | (?P<quotes>\"{3}|'{3}) (?: [^"'\\]++ | \\. | (?!(?P=quotes))["'] )*+ (?: (?P=quotes) | \\?\Z )
    | " (?: [^"\\\n]++ | \\. )*+ "? | ' (?: [^'\\\n]++ | \\. )*+ '?""",
    re.DOTALL | re.VERBOSE,
)
_FIRST_SIGNS = {"julia": ";?]"}
"""What begins a cell that the kernel does not read as its language: a shell, help, or packages."""


def _code(source: str, language: str) -> str:
    """Return a code cell, with what only its kernel understands as comments."""
    sign = COMMENT_SIGNS[language]
    magic = _CELL_MAGIC.match(source)
    if magic and not (language == "python" and magic["name"] in _RUNS_ITS_CELL):
        return _commented(source, sign)
    if source.lstrip()[:1] in tuple(_FIRST_SIGNS.get(language, "")):
        return _commented(source, sign)
    if language != "python" or is_python(source):
        return source
    return "\n".join(_without_ipython(source))


def _without_ipython(source: str) -> Iterator[str]:
    inside = _inside_strings(source)
    place, continues = 0, False
    for line in source.split("\n"):
        found = None if place in inside else _IPYTHON.match(line)
        if found or continues:
            # An indented command may be all that its block has.
            indent = line[: len(line) - len(line.lstrip())]
            comment = _commented(line.strip(), "#") or "#"
            yield f"{indent}pass  {comment}" if found and found["indent"] else indent + comment
            continues = line.endswith("\\")
        else:
            yield line
        place += len(line) + 1


def _inside_strings(source: str) -> set[int]:
    """Return the places of the lines that begin inside a string."""
    places: set[int] = set()
    for lexeme in _LEXEME.finditer(source):
        line = source.find("\n", lexeme.start(), lexeme.end() - 1)
        while line >= 0:
            places.add(line + 1)
            line = source.find("\n", line + 1, lexeme.end() - 1)
    return places


def pairs(cells: list[Cell], max_output: int) -> str:
    """Return texts and the code that follows them, with the output of its last cell; empty if there is none.

    Code in front of the first text and texts that no code follows are left out, as StarCoder did.
    """
    runs = [
        (kind, list(run)) for kind, run in groupby((cell for cell in cells if cell.kind != "raw"), key=lambda each: each.kind)
    ]
    while runs and runs[0][0] == "code":
        runs.pop(0)
    if runs and runs[-1][0] == "markdown":
        runs.pop()
    pieces = [f"{TEXT if kind == 'markdown' else CODE}\n{_run(kind, run, max_output)}\n" for kind, run in runs]
    return f"{START}\n{''.join(pieces)}" if pieces else ""


def _run(kind: str, run: list[Cell], max_output: int) -> str:
    joined = ("\n\n" if kind == "markdown" else "\n").join(cell.source.strip("\n") for cell in run)
    if kind == "markdown":
        return joined
    return f"{joined}\n{OUTPUT}\n{run[-1].output[:max_output].strip() or NO_OUTPUT}"

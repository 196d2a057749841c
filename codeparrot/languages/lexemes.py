"""What the text of a language looks like, as far as brackets, strings and comments go: enough to find where a function ends.

Patterns are regular expressions. `wait` of a quote matches what may still become its opening when text ends there.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple


class Quote(NamedTuple):
    """A kind of literal, or of comment, in which brackets and words mean nothing."""

    open: str
    """Pattern of its beginning; a group in it may name a part of its end."""
    close: str
    """Text at its end; `\\1` stands for the group. Empty: its beginning is all of it."""
    wait: str = ""
    """Pattern of a beginning that is not whole; empty: the beginning is one character."""
    escape: bool = True
    """Whether a backslash takes the next character's meaning."""
    inner: str = ""
    """Text that begins code inside it, with its last character as the bracket."""
    lines: bool = True
    """Whether it may go on behind the end of its line."""
    doubled: bool = False
    """Whether its end twice is a character of it."""
    nests: str = ""
    """Text that opens another one inside it."""
    where: Literal["", "value", "spaced"] = ""
    """value: only where an operand may stand (a regex); spaced: not behind a letter or digit."""
    sets: bool = False
    """Whether its end means nothing in `[...]` inside it."""
    comment: bool = False
    pairs: bool = False
    """Whether a group that is a bracket ends with the other one, and nests."""


@dataclass(frozen=True)
class Syntax:
    """The syntax of a language."""

    family: Literal["braces", "words", "indentation"]
    """What ends a function: a bracket, a word such as `end`, or a line that is indented less."""
    function: str
    """Pattern of what begins a function in front of its bracket, or in its line; empty: C's form, a name and parentheses."""
    quotes: tuple[Quote, ...] = ()
    line_comments: tuple[str, ...] = ()
    """Patterns."""
    openers: tuple[str, ...] = ()
    closers: tuple[str, ...] = ()
    heredoc: str = ""
    """Pattern of what announces lines up to the one that is its group."""
    heredoc_wait: str = ""
    preprocessor: bool = False
    """Whether lines that begin with # are C's."""
    newline_ends: bool = False
    """Whether a statement ends with its line."""
    bodies: str = ""
    """Pattern of a function's beginning whose body is an expression without brackets."""
    html: bool = False
    """Whether the code stands in `<?php ... ?>`."""


_C = Quote(r"/\*", "*/", wait="/", escape=False, comment=True)
_NESTED = _C._replace(nests="/*")
_DOUBLE, _SINGLE = Quote('"', '"', lines=False), Quote("'", "'", lines=False)
_DOUBLES, _SINGLES = Quote('"', '"'), Quote("'", "'")
_THREE = Quote('"""', '"""', wait='""?')
_THREE_SINGLE = Quote("'''", "'''", wait="''?")
_CHAR = Quote(r"'(?=\\|[^\\'\n]')", "'", wait=r"'[^'\n]?", lines=False)
"""A character; a lifetime, a symbol or a label is none."""
_SLASHES = ("//",)
_REGEX = Quote(r"/(?![/*])", "/", wait="/", lines=False, where="value", sets=True)
_TEMPLATE = Quote("`", "`", inner="${")

_CPP_STRINGS = (
    Quote(r'(?<=R)"([^()\\\s"]{0,16})\(', r')\1"', wait=r'(?<=R)"[^()\\\s"]{0,16}', escape=False),
    *(_DOUBLE, Quote(r"(?<![0-9a-fA-F'])'|(?<=u8)'", "'", lines=False)),
)
_SCRIPT = Syntax(
    "braces",
    r"\bfunction\b|=>\s*$|^\s*(?:(?:static|async|get|set|public|private|protected|override|readonly|export|default)\s+)*"
    r"[*#]?[\w$]+\s*(?:<[^>]*>)?\s*\(\)(?:\s*:[^=]*)?\s*$",
    (_C, _REGEX, _TEMPLATE, _DOUBLE, _SINGLE._replace(where="spaced")),
    (r"(?<!http:)(?<!https:)//",),
    newline_ends=True,
    bodies=r"=>(?![\s\S]*\{)",
)
_JAVA = Syntax("braces", "", (_C, _THREE, _DOUBLE, _SINGLE), _SLASHES)

SYNTAXES: dict[str, Syntax] = {
    "c": Syntax("braces", "", (_C, _DOUBLE, _SINGLE), _SLASHES, preprocessor=True),
    "objective-c": Syntax("braces", "", (_C, _DOUBLE, _SINGLE), _SLASHES, preprocessor=True),
    "c++": Syntax("braces", "", (_C, *_CPP_STRINGS), _SLASHES, preprocessor=True),
    "java": _JAVA,
    "c#": Syntax(
        "braces",
        "",
        (
            _C,
            Quote(r'(?<=\$)"""', '"""', wait='""?', escape=False),
            *(_THREE._replace(escape=False), Quote(r'(?<=@)"|(?<=@\$)"', '"', escape=False, doubled=True)),
            *(Quote(r'(?<=\$)"', '"', inner="{", lines=False), _DOUBLE, _SINGLE),
        ),
        _SLASHES,
        preprocessor=True,
        bodies="=>",
    ),
    "javascript": _SCRIPT,
    "typescript": _SCRIPT,
    "go": Syntax(*("braces", r"\bfunc\b", (_C, Quote("`", "`", escape=False), _DOUBLE, _SINGLE), _SLASHES), newline_ends=True),
    "rust": Syntax(
        "braces",
        r"\bfn\b",
        (_NESTED, Quote(r'(?<=r)(#{0,16})"', r'"\1', wait=r"(?<=r)#{1,16}", escape=False), _DOUBLES, _CHAR),
        _SLASHES,
    ),
    "kotlin": Syntax(
        *("braces", r"\b(?:fun|init|constructor)\b|\b[gs]et\(\)\s*$"),
        (_NESTED, _THREE._replace(escape=False, inner="${"), _DOUBLE._replace(inner="${"), _SINGLE),
        *(_SLASHES,),
        newline_ends=True,
        bodies=r"\bfun\b[^={]*=(?![\s\S]*\{)",
    ),
    "scala": Syntax(
        *("braces", r"\bdef\b"),
        (_NESTED, _THREE._replace(escape=False, inner="${"), _DOUBLE._replace(inner="${"), _CHAR),
        *(_SLASHES,),
        newline_ends=True,
        bodies=r"\bdef\b[^={]*=(?!>)(?![\s\S]*\{)",
    ),
    "swift": Syntax(
        *("braces", r"\bfunc\b|\binit[?!]?\b|\bdeinit\b|\bsubscript\b"),
        (
            *(_NESTED, Quote(r'(?<!#)(#{1,8})"', r'"\1', wait=r"#{1,8}", escape=False)),
            *(_THREE._replace(inner="\\("), _DOUBLE._replace(inner="\\(")),
        ),
        *(_SLASHES,),
        newline_ends=True,
    ),
    "dart": Syntax(
        "braces",
        "",
        (
            _NESTED,
            *(Quote(r"(?<=\br)'''", "'''", "''?", False), Quote(r'(?<=\br)"""', '"""', '""?', False)),
            *(Quote(r"(?<=\br)'", "'", "", False, lines=False), Quote(r'(?<=\br)"', '"', "", False, lines=False)),
            *(each._replace(inner="${") for each in (_THREE, _THREE_SINGLE, _DOUBLE, _SINGLE)),
        ),
        _SLASHES,
        bodies="=>",
    ),
    "groovy": Syntax(
        "braces", "", (_C, _THREE, _THREE_SINGLE, _DOUBLE._replace(inner="${"), _SINGLE), _SLASHES, newline_ends=True
    ),
    "php": Syntax(
        *("braces", r"\bfunction\b", (_C, _DOUBLES, _SINGLES), (*_SLASHES, r"\#(?!\[)")),
        heredoc=r"<<<[ \t]{0,4}[\"']?([A-Za-z_]\w{0,40})[\"']?(?=\n|\r)",
        heredoc_wait=r"<(?:<(?:<[ \t]{0,4}(?:[\"']?(?:[A-Za-z_]\w{0,40}[\"']?)?)?)?)?",
        bodies=r"\bfn\b",
        html=True,
    ),
    "perl": Syntax(
        "braces",
        r"\bsub\b",
        (
            Quote(r"(?m:^)=[a-z]", "\n=cut", wait=r"(?m:^)=", escape=False, comment=True),
            Quote(
                r"(?<![\w$@%&>{-])(?:(?:q[qwrx]?|m|s|tr|y)(?=[^\w\s,;)\]}=#>])|q[qwrx]?[ ](?=[({\[<]))([^\w\s])",
                *("\\1", r"(?<![\w$@%&>{-])(?:q[qwrx]?|m|s|tr|y)[ ]?"),
                pairs=True,
            ),
            *(_DOUBLES, _SINGLES, _REGEX, Quote("`", "`")),
        ),
        (r"(?<![$\w])\#(?!\{)",),
        heredoc=r"<<~?(?:\"([A-Za-z_]\w{0,40})\"|'([A-Za-z_]\w{0,40})'|([A-Z_]\w{0,40})(?!\w))",
        heredoc_wait=r"<(?:<~?(?:[\"']?(?:[A-Za-z_]\w{0,40})?)?)?",
    ),
    "r": Syntax(
        "braces",
        r"\bfunction\s*\(|\\\(",
        (
            Quote(r'(?<=\b[rR])"(-{0,8})\(', r')\1"', r'(?<=\b[rR])"-{0,8}', False),
            *(_DOUBLES, _SINGLES, Quote("`", "`", escape=False)),
        ),
        (r"\#",),
        newline_ends=True,
        bodies=r"\bfunction\s*\(\)(?![\s\S]*\{)",
    ),
    "zig": Syntax("braces", r"\bfn\b", (_DOUBLE, _SINGLE), (*_SLASHES, r"\\\\")),
    "shell": Syntax(
        "braces",
        r"\bfunction\b|[\w:.-]+\s*\(\)\s*$",
        (
            Quote(r"\$'", "'", wait=r"\$"),
            *(Quote('"', '"', inner="$("), Quote("'", "'", escape=False), Quote(r"\$\{(?!\()", "}", wait=r"\$\{?", nests="{")),
            Quote(r"\\[\s\S]", "", wait=r"\\", escape=False),
        ),
        (r"(?<![\w$&{(\"'])\#(?!\})",),
        openers=("if", "case", "do"),
        closers=("fi", "esac", "done"),
        heredoc=r"(?<![<\w])<<-?[ \t]{0,4}[\"'\\]?([A-Za-z_]\w{0,40})(?!\w)[\"']?",
        heredoc_wait=r"<(?:<-?[ \t]{0,4}(?:[\"'\\]?(?:[A-Za-z_]\w{0,40}[\"']?)?)?)?",
        newline_ends=True,
    ),
    "ruby": Syntax(
        "words",
        r"\bdef\b",
        (
            Quote(r"(?m:^)=begin\b()", "\n=end", wait=r"(?m:^)=[a-z]{0,5}", escape=False, comment=True),
            *(_DOUBLES._replace(inner="#{"), _SINGLES._replace(where="spaced"), Quote("`", "`", inner="#{")),
            _REGEX._replace(inner="#{", lines=True),
        ),
        (r"(?<![\w$?])\#(?!\{)",),
        openers=("def class module begin case do if unless while until for".split()),  # type: ignore[arg-type]
        closers=("end",),
        heredoc=r"(?<![\w)\]<])<<(?:[~-][\"'`]?([A-Za-z_]\w{0,40})(?!\w)[\"'`]?|[\"'`]?([A-Z]\w{0,40})(?!\w)[\"'`]?)",
        heredoc_wait=r"<(?:<[~-]?(?:[\"'`]?(?:[A-Za-z_]\w{0,40}[\"'`]?)?)?)?",
        newline_ends=True,
        bodies=r"\bdef\s+[\w.?!]+(?:\(\))?\s*=(?![=~])",
    ),
    "lua": Syntax(
        "words",
        r"\bfunction\b",
        (
            Quote(r"--\[(={0,16})\[", r"]\1]", wait=r"--?(?:\[={0,16})?", escape=False, comment=True),
            Quote(r"\[(={0,16})\[", r"]\1]", wait=r"\[={0,16}", escape=False),
            *(_DOUBLE, _SINGLE),
        ),
        (r"--",),
        openers=("function", "do", "if", "repeat"),
        closers=("end", "until"),
        newline_ends=True,
    ),
    "julia": Syntax(
        "words",
        r"^\s*(?:@\w+\s+)*(?:function|macro)\b",
        (
            Quote("#=", "=#", wait="#", escape=False, nests="#=", comment=True),
            *(_THREE._replace(inner="$("), _DOUBLES._replace(inner="$(")),
            Quote(r"(?<![\w)\]}'.])'", "'", lines=False),
        ),
        (r"\#",),
        openers=tuple("function macro if for while let begin quote try struct module baremodule do type".split()),
        closers=("end",),
        newline_ends=True,
        bodies=r"^\s*[\w.!]+\(\)\s*=(?!=)",
    ),
    "elixir": Syntax(
        "words",
        r"\bdef(?:p|macro|macrop)?\b",
        (
            *(Quote(f"{each}", each, wait=each[:1] + each[:1] + "?", inner="#{") for each in ('"""', "'''")),
            *(_DOUBLES._replace(inner="#{"), _SINGLES._replace(inner="#{", where="spaced")),
            Quote(r"(?<=~[a-zA-Z])/", "/", inner="#{"),
        ),
        (r"(?<!\?)\#",),
        openers=("do", "fn"),
        closers=("end",),
        newline_ends=True,
        bodies=r"\bdef[a-z]*\b[\s\S]*\bdo:",
    ),
    "python": Syntax(
        "indentation",
        r"^\s*(?:async\s+)?def\b",
        (_THREE, _THREE_SINGLE, _DOUBLE, _SINGLE),
        (r"\#",),
        newline_ends=True,
    ),
}
SYNTAXES |= {"cuda": SYNTAXES["c++"], "objective-c++": SYNTAXES["c++"]}
"""Of the languages whose functions' ends are told, by name. In the others a block ends by indentation."""

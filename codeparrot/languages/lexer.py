"""Text of a language cut into what may be code and what is not, while it arrives.

Guarantees: the tokens do not depend on the pieces in which the text came, but for code that is cut where a piece ends. A token
is there as soon as no character that may follow can change it; a bracket, with itself.
Cost: one pass; of each piece at most some 50 characters are looked at again.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from codeparrot.languages.lexemes import SYNTAXES, Quote, Syntax

_BEHIND = 16
"""Characters before the next one that patterns may look back at."""
_VALUE_WORDS = frozenset(
    "return typeof case in of do else void delete throw new instanceof yield await and or not if unless while until when split "
    "grep map join then puts".split()
)
_HTML = re.compile(r"(?P<wait><(?:\?(?:p(?:h)?)?)?\Z)|(?P<tag><\?(?:php|=))")
_LINE = re.compile(r"(?P<wait>\\\Z|\\\r\Z|\?\Z)|(?P<skip>\\\r?\n)|(?P<php>\?>)|(?P<end>\n)")
_COMMENT = re.compile(r"(?P<wait>\?\Z)|(?P<php>\?>)|(?P<end>\n)")


class Token(NamedTuple):
    """A piece of text."""

    kind: str
    """code (also a part of it), value (the beginning of a literal), comment (the beginning of one), open, close (a bracket),
    word (one of the syntax's openers or closers), semicolon, line (its end), directive (of the preprocessor)."""
    text: str
    end: int
    """How many characters lie in front of its end."""


class _Mode(NamedTuple):
    """What the text is in."""

    kind: str
    pattern: re.Pattern[str] | None = None
    quote: Quote | None = None
    bracket: str = ""
    """Of code inside a literal: what opened it."""


class Lexer:
    """Cuts a text that arrives in pieces."""

    def __init__(self, language: str, html: bool = False) -> None:
        """
        Args:
            language: one of SYNTAXES.
            html: whether the text begins outside of the language's tags.
        """
        self._syntax = SYNTAXES[language]
        self._code = _code_pattern(language)
        self._modes = [_Mode("html") if html else _Mode("code")]
        self._depths = [0]
        """Brackets, or texts that nest, that are open in each mode."""
        self._buffer, self._at, self._before = "", 0, 0
        self._recent = ""
        """The last code, without white space at its end."""
        self._heredocs: list[str] = []
        """Ends of the heredocs that begin behind this line."""
        self._fresh = True
        """Whether a line of a heredoc begins here."""

    def feed(self, text: str) -> Iterator[Token]:
        """Yield the tokens that are certain with this text."""
        self._buffer += text
        while self._at < len(self._buffer):
            kind, before = self._modes[-1].kind, (self._at, len(self._modes))
            if kind == "code":
                yield from self._read_code()
            elif kind == "heredoc":
                self._read_heredoc()
            else:
                yield from self._read_quoted()
            if (self._at, len(self._modes)) == before:
                break
        dropped = max(0, self._at - _BEHIND)
        self._buffer, self._at, self._before = self._buffer[dropped:], self._at - dropped, self._before + dropped

    def _push(self, mode: _Mode) -> None:
        self._modes.append(mode)
        self._depths.append(0)

    def _pop(self) -> None:
        if len(self._modes) > 1:
            self._modes.pop()
            self._depths.pop()

    def _read_code(self) -> Iterator[Token]:
        """Read code up to the next thing of interest, and that."""
        found = self._code.search(self._buffer, self._at)
        start = found.start() if found else len(self._buffer)
        if start > self._at:
            piece = self._buffer[self._at : start]
            self._recent = (self._recent + piece).rstrip()[-_BEHIND:] + (" " if piece[-1:].isspace() else "")
            self._at = start
            yield Token("code", piece, self._before + start)
        if found is None or found.lastgroup == "wait":
            return
        kind, text = str(found.lastgroup), found[0]
        if kind.startswith("q"):
            yield from self._open_quote(self._syntax.quotes[int(kind[1:])], found)
            return
        self._at = found.end()
        token = Token(kind, text, self._before + self._at)
        if kind == "line":
            self._recent += " "
            yield token
            if self._heredocs:
                self._push(_Mode("heredoc"))
                self._fresh = True
        elif kind == "comment":
            self._push(_Mode("line", _COMMENT))
            yield token
        elif kind == "directive":
            self._push(_Mode("line", _LINE))
            yield Token(kind, text.strip(" \t#"), token.end)
        elif kind == "heredoc":
            yield from self._announce(found)
        elif kind == "tag":
            self._modes[-1] = _Mode("html")
            yield Token("semicolon", text, token.end)
        else:
            yield from self._bracket(token)

    def _bracket(self, token: Token) -> Iterator[Token]:
        """Read a bracket, which may end code inside a literal, or a word or semicolon."""
        inner = self._modes[-1].bracket
        if token.kind == "open" and token.text == inner:
            self._depths[-1] += 1
        elif token.kind == "close" and inner and token.text == _CLOSING[inner]:
            self._depths[-1] -= 1
            if self._depths[-1] < 0:
                self._pop()
                token = token._replace(text=")")
        self._recent = token.text
        yield token

    def _announce(self, found: re.Match[str]) -> Iterator[Token]:
        inside = self._modes[-1].bracket
        name = next(each for each in found.groups() if each and re.fullmatch(r"\w+", each))
        if not (inside or self._recent.endswith("((")):
            self._heredocs.append(name)
        self._recent = '"'
        yield Token("value", '"', self._before + self._at)

    def _open_quote(self, quote: Quote, found: re.Match[str]) -> Iterator[Token]:
        if quote.where and not self._may_begin(quote):
            self._at = found.start() + 1
            self._recent += found[0][0]
            yield Token("code", found[0][0], self._before + self._at)
            return
        self._at = found.end()
        group = next((each for each in found.groups() if each is not None and found[0] != each), "")
        if quote.close:
            self._push(_Mode("quote", _inside(quote, group), quote))
            # Perl's s/// and tr/// have a second part, and with brackets a literal of its own.
            self._depths[-1] = int(quote.pairs and group not in _PAIRS and re.match(r"s|tr|y", found[0]) is not None)
        if not quote.comment:
            self._recent = '"'
        yield Token("comment" if quote.comment else "value", '"', self._before + self._at)

    def _may_begin(self, quote: Quote) -> bool:
        """Return whether a literal may stand behind the code before it."""
        last = self._recent.rstrip()
        word = re.search(r"(?<![\w.$@])[a-z]+\Z", last)
        if word and word[0] in _VALUE_WORDS:
            return True
        if quote.where == "spaced":
            return not (self._recent[-1:].isalnum() or self._recent[-1:] == "_")
        return not last or last.endswith("=>") or last[-1] in "(,=:[!&|?{;+-*%~^\n"

    def _read_quoted(self) -> Iterator[Token]:
        """Read on in a literal, a comment or HTML, to its next turn."""
        mode = self._modes[-1]
        found = (mode.pattern or _HTML).search(self._buffer, self._at)
        if found is None or found.lastgroup == "wait":
            self._at = found.start() if found else len(self._buffer)
            return
        self._at = found.end()
        kind = found.lastgroup
        if kind == "tag":
            self._modes[-1], self._recent = _Mode("code"), ""
        elif kind == "php":
            if self._syntax.html:
                self._pop()
                self._modes[-1] = _Mode("html")
        elif kind == "nest":
            self._depths[-1] += 1
        elif kind == "inner":
            assert mode.quote is not None
            self._push(_Mode("code", bracket=mode.quote.inner[-1]))
            self._recent = ""
            yield Token("open", "(", self._before + self._at)
        elif kind == "end":  # the end of the line is a token of its own
            self._at = found.start()
            self._pop()
        elif kind == "close":
            self._depths[-1] -= 1
            if self._depths[-1] < 0:
                self._pop()

    def _read_heredoc(self) -> None:
        """Read on in a heredoc, line by line."""
        while self._at < len(self._buffer):
            end = self._buffer.find("\n", self._at)
            line = self._buffer[self._at : end if end >= 0 else None]
            if self._fresh and end < 0 and len(line) <= 80:
                return
            word = re.match(rf"[ \t]*{self._heredocs[0]}(?!\w)", line) if self._fresh else None
            if word:
                self._at += word.end()
                self._heredocs.pop(0)
                if not self._heredocs:
                    self._pop()
                    return
                continue
            self._fresh = end >= 0
            self._at = end + 1 if end >= 0 else len(self._buffer)


_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_CLOSING = {"{": "}", "(": ")", "[": "]"}


@lru_cache
def _code_pattern(language: str) -> re.Pattern[str]:
    """Return what is of interest in code; what may become it when text ends there goes first."""
    syntax: Syntax = SYNTAXES[language]
    words = sorted({*syntax.openers, *syntax.closers}, key=len, reverse=True)
    waits = [quote.wait for quote in syntax.quotes if quote.wait]
    waits += [syntax.heredoc_wait] if syntax.heredoc else []
    waits += [r"(?<![\w.@:$])[a-z]{1,12}"] if words else []
    waits += [r"(?m:^)[ \t]{0,40}(?:\#[ \t]{0,40}\w{0,12})?(?<=[ \t#\w])"] if syntax.preprocessor else []
    waits += [r"/", r"\?"] if syntax.html else []
    waits += [r"\#"] if any(r"\#(?!" in each for each in syntax.line_comments) else []
    waits += [first for first in ("-", "/", r"\\") if any(each.endswith(first * 2) for each in syntax.line_comments)]
    parts = [f"(?P<wait>(?:{'|'.join(waits)})\\Z)"] if waits else []
    parts += [r"(?P<directive>(?m:^)[ \t]{0,40}\#[ \t]{0,40}\w{0,12})"] if syntax.preprocessor else []
    parts += [rf"(?P<heredoc>{syntax.heredoc})"] if syntax.heredoc else []
    comments = f"(?P<comment>{'|'.join(syntax.line_comments)})" if syntax.line_comments else ""
    quotes = [f"(?P<q{number}>{quote.open})" for number, quote in enumerate(syntax.quotes)]
    # Long comments such as --[[ and #= begin like those of a line; a regex that is empty is none.
    parts += [*quotes, comments] if comments else quotes
    parts += [r"(?P<tag>\?>)"] if syntax.html else []
    parts += [rf"(?P<word>(?<![\w.@:$])(?:{'|'.join(words)})(?![\w:?!]))"] if words else []
    parts += [r"(?P<open>[{(\[])", r"(?P<close>[})\]])", r"(?P<semicolon>;)", r"(?P<line>\n)"]
    return re.compile("|".join(parts))


@lru_cache(maxsize=512)
def _inside(quote: Quote, group: str) -> re.Pattern[str]:
    """Return what is of interest inside a literal."""
    close, nests = quote.close.replace("\\1", group), quote.nests
    if quote.pairs and group in _PAIRS:
        close, nests = _PAIRS[group], group
    waits = [r"\\"] if quote.escape else []
    begun = [quote.inner, nests, close, close + close[:1] if quote.doubled else ""]
    waits += [r"\{"] if quote.inner == "{" else []
    waits += [re.escape(text[:length]) for text in begun for length in range(1, len(text))]
    parts = [f"(?P<wait>(?:{'|'.join(waits)})\\Z)"] if waits else []
    if quote.sets:
        parts = [r"(?P<wait>(?:\\|\[(?:\\.|[^\]\\\n]){0,80}\\?)\Z)", r"(?P<set>\[(?:\\.|[^\]\\\n]){0,80}\])"]
    parts += [r"(?P<both>\{\{)"] if quote.inner == "{" else []
    parts += [f"(?P<inner>{re.escape(quote.inner)})"] if quote.inner else []
    parts += [r"(?P<skip>\\[\s\S])"] if quote.escape else []
    parts += [f"(?P<twice>{re.escape(close * 2)})"] if quote.doubled else []
    parts += [f"(?P<nest>{re.escape(nests)})"] if nests else []
    parts += [f"(?P<close>{re.escape(close)})"]
    parts += [r"(?P<end>\n)"] if not quote.lines else []
    return re.compile("|".join(parts))

"""The language of a text whose ending several languages share, by what only one of them writes.

A sign is a pattern that starts behind a line's end and goes through a line at most once for each alternative (`*+` never steps
back), so a text of one long line or of a million short ones costs the same for each character.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

END = r"[ \t]*+(?=\n)"


class Sign(NamedTuple):
    """What lines of a language begin with; no language: one that the table lacks."""

    language: str | None
    pattern: re.Pattern[str]

    def count(self, lines: str) -> int:
        """Return how many lines it finds in a text that begins and ends with a line's end."""
        return sum(1 for _ in self.pattern.finditer(lines))


def _sign(language: str | None, *alternatives: str) -> Sign:
    return Sign(language, re.compile(f"\\n[ \\t]*+(?:{'|'.join(alternatives)})"))


_OBJECTIVE_C = _sign(
    "objective-c",
    r"@(?:interface|implementation|protocol|class|property|import|end|selector)\b",
    r"#[ \t]*+import\b",
)
_CPP = _sign(
    "c++",
    r"(?:class|struct)[ \t]++(?:[A-Z][A-Z_]++[ \t]++)?+\w++[ \t]*+(?:final[ \t]*+)?+:(?!:)",
    rf"(?:typedef[ \t]++)?+class[ \t]++(?:[A-Z][A-Z_]++[ \t]++)?+\w++(?:[ \t]*+[{{;]|{END})",
    rf"(?:inline[ \t]++)?+namespace\b[ \t]*+[\w:]*+(?:[ \t]*+[{{;]|{END})",
    r"template[ \t]*+<",
    r"using[ \t]++(?:namespace\b|\w++[ \t]*+=|\w++::)",
    r"(?:public|private|protected)[ \t]*+:",
    r"(?:virtual|explicit|constexpr|friend|static_assert|typename|consteval)\b",
    r"(?:[\w*&<>, \t]++::)++\w",
    r"#[ \t]*+include[ \t]*+<(?:c?std\w++|string|vector|map|set|list|memory|iostream|utility|algorithm|type_traits|tuple)>",
)
_MATLAB = _sign(
    "matlab", r"%", r"##", r"function\b", r"(?:end|endfunction|endif|endfor|endwhile|elseif|otherwise)\b", r"classdef\b"
)
_PERL = _sign(
    "perl",
    r"(?:use|no)[ \t]++[\w:.]++",
    r"(?:my|our|local)[ \t]*+[(\$@%]",
    r"sub[ \t]++\w",
    r"package[ \t]++[\w:]++[ \t]*+[;{]",
    r"require[ \t]++[\w:'\"]",
    r"=(?:pod|head1|cut)\b",
    r"[\$@%]\w",
    r"(?:is|ok|like|is_deeply)[ \t]*+\(",
    r"#[^\n]*perl",
)
_PROLOG = _sign("prolog", r":-", r"[a-z]\w*+(?:\([^\n:]*+)?+:-", rf"[a-z]\w*+\([^\n()]*+\)\.{END}", r"%", r"!,")
_XML = _sign("xml", r"<\?xml\b", r"<!DOCTYPE\b", r"<TS\b", r"<tileset\b", r"<map\b")
_COQ = _sign(
    "coq",
    r"(?:From[ \t]++\S++[ \t]++)?+Require\b",
    r"(?:Lemma|Theorem|Definition|Fixpoint|Inductive|Proof|Qed|Section|Import|Export|Notation|Ltac|Arguments|Hint)\b",
    r"\(\*",
)
_VERILOG = _sign(
    "verilog", r"(?:end)?module\b", r"`\w", r"(?:always|assign|wire|reg|input|output|inout|initial|parameter|primitive)\b"
)
_V = _sign(None, r"(?:pub[ \t]++)?+fn[ \t]", rf"module[ \t]++\w++{END}")
_TEX = _sign("tex", r"\\", r"%")
_CLASSES = _sign(None, r"VERSION[ \t]++1\.0", r"Attribute[ \t]++VB_", r"(?:public|private|global)\b", r"/[*/]", r"Class[ \t]")
_PUPPET = _sign(
    "puppet",
    r"(?:class|define|node)[ \t]++[\w:'\"]++[^\n;={]*+\{",
    r"\w++[ \t]*+=>",
    rf"include[ \t]++[\w:]++{END}",
    r"\$\w",
)
_PASCAL = _sign(
    "pascal",
    r"(?i:unit|program|library)[ \t]++\w++",
    r"(?i:begin|uses|interface|implementation|var|procedure|function|end)\b",
    r"\{\$",
    r"//",
)
_R = _sign("r", r"#", r"[\w.]++[ \t]*+(?:<-|=)", r"(?:library|function|if|for)[ \t]*+\(")
_REBOL = _sign(None, r"(?:REBOL|Rebol|Red)\b[ \t]*+\[?")
_MACHINE = _sign(None, r"\(define_\w", r";;")
_MAKE = _sign("makefile", r"[\w./\\$()-]++[ \t]*+:(?!=)[ \t]*+[\w./\\$-]")
_D = _sign("d", r"(?:module|import)[ \t]++[\w.]++", r"(?:void|int|struct|class|enum|alias|unittest)\b", r"/[/*+]", r"@safe\b")

SIGNS: dict[str, tuple[Sign, ...]] = {
    ".m": (_OBJECTIVE_C, _MATLAB),
    ".pl": (_PERL, _PROLOG),
    ".v": (_VERILOG, _COQ, _V),
    ".pp": (_PASCAL, _PUPPET),
    ".cls": (_TEX, _CLASSES),
    ".d": (_D, _MAKE),
}
"""By ending: of these, the language of the most lines; the first where that leaves it open."""
DECISIVE: dict[str, tuple[Sign, ...]] = {
    ".h": (_OBJECTIVE_C, _CPP),
    ".ts": (_XML,),
    ".tsx": (_XML,),
    ".r": (_REBOL,),
    ".md": (_MACHINE,),
}
"""By ending: one line of these is enough; the first language of the table otherwise."""
USUAL = {
    ".h": "c",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".m": "objective-c",
    ".pl": "perl",
    ".v": "verilog",
    ".cls": "tex",
}


def choose(suffix: str, candidates: Sequence[str], head: str) -> str | None:
    """Return which of the languages that share an ending a text is in; None if it is in one that the table lacks.

    Args:
        suffix: in lower case.
        candidates: the languages of the table with that ending.
        head: the beginning of the text; where it tells nothing, the ending's usual language is returned.
    """
    usual = USUAL.get(suffix, candidates[0])
    lines = f"\n{_without_comments(head)}\n" if suffix == ".h" else f"\n{head}\n"
    for sign in DECISIVE.get(suffix, ()):
        if sign.pattern.search(lines):
            return sign.language
    signs = SIGNS.get(suffix, ())
    counts = [sign.count(lines) for sign in signs]
    return signs[counts.index(max(counts))].language if any(counts) else usual


def _without_comments(text: str) -> str:
    """Return a text of C without what stands between `/*` and `*/`."""
    kept, place = [], 0
    while (start := text.find("/*", place)) >= 0:
        kept.append(text[place:start])
        end = text.find("*/", start + 2)
        place = len(text) if end < 0 else end + 2
    return "".join([*kept, text[place:]])

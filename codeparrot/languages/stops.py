"""Where a completion in a language ends: before the next block at the top level, which begins with one of these texts.

A text counts at the beginning of a line without indentation alone. What a function itself may begin such a line with (`}`,
`end`, `else`, a label) is none of them.
"""

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.languages.names import LANGUAGES, canonical, language_named


def _lines(*words: str) -> tuple[str, ...]:
    """Return texts that begin a line."""
    return tuple(f"\n{word}" for word in words)


_SLASHES = ("\n//", "\n/*")
_SCRIPT = ("\nfunction", "\nasync", "\nclass", "\nconst", "\nlet", "\nvar", "\nexport", "\nimport")

_STOPS: dict[str, tuple[str, ...]] = {
    "c": ("\n#", "\n//", "\n/*", "\ntypedef", "\nstruct", "\nenum", "\nunion", "\nstatic", "\nextern", "\nint", "\nvoid"),
    "c#": _lines(*"using namespace public private internal static class struct interface enum record abstract [".split())
    + _SLASHES,
    "c++": ("\n#", "\n//", "\n/*", "\ntemplate", "\nclass", "\nstruct", "\nenum", "\nnamespace", "\nstatic", "\nint", "\nvoid"),
    "clojure": _lines("(", ";"),
    "css": _lines(".", "#", "@", "/*", ":", "html", "body"),
    "dart": _lines(*"import export part class abstract mixin extension enum typedef void final const var @".split()) + _SLASHES,
    "elixir": _lines("def", "@", "#", "use", "import", "alias", "require", "IO."),
    "erlang": _lines("-", "%"),
    "fortran": _lines("program", "module", "subroutine", "function", "!"),
    "go": ("\nfunc", "\ntype", "\nvar", "\nconst", "\n//", "\n/*"),
    "groovy": _lines(*"import class interface enum trait def public private static @ println".split()) + _SLASHES,
    "haskell": _lines(*"import module data newtype type class instance infix main -- {-".split()),
    "java": ("\nimport", "\npublic", "\nclass", "\nabstract", "\nfinal", "\ninterface", "\nenum", "\n@", "\n//", "\n/*"),
    "javascript": (*_SCRIPT, "\nmodule", "\nconsole", "\nif", "\n//", "\n/*"),
    "julia": _lines(*"function macro struct mutable abstract module using import export const @ println #".split()),
    "kotlin": _lines(*"import package fun val var class data object interface enum sealed abstract open".split())
    + _lines("private", "internal", "public", "@")
    + _SLASHES,
    "lua": _lines("function", "local", "return", "--", "print", "if", "for", "while"),
    "objective-c": _lines("#", "@", "static", "typedef", "struct", "enum", "int", "void", "- (", "+ (") + _SLASHES,
    "ocaml": _lines("let", "type", "module", "open", "exception", "(*", ";;"),
    "pascal": _lines(*"procedure function begin type var const uses { //".split()),
    "perl": _lines("sub", "package", "use", "my", "our", "print", "if", "foreach", "#", "=", "1;", "__END__"),
    "php": _lines(*"function class abstract final interface trait namespace use require include echo $ # <?php ?>".split())
    + _SLASHES,
    "powershell": _lines("function", "filter", "param", "class", "$", "#", "Write-"),
    "python": ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif"),
    "r": _lines("#", "library", "require", "source", "print", "cat", "if", "for", "setMethod", "setClass"),
    "ruby": ("\nclass", "\nmodule", "\ndef", "\nrequire", "\nputs", "\nif", "\n#"),
    "rust": ("\nfn", "\npub", "\nimpl", "\nstruct", "\nenum", "\ntrait", "\nmod", "\nuse", "\n#", "\n//", "\n/*"),
    "scala": _lines(*"import package object class trait case abstract sealed final def val var implicit given @".split())
    + _SLASHES,
    "shell": _lines("function", "#", "if", "for", "while", "case", "export", "local", "echo", "main", "exit"),
    "sql": _lines(*"CREATE SELECT INSERT UPDATE DELETE DROP ALTER GRANT create select insert update delete drop alter".split())
    + _lines("--", "/*"),
    "swift": _lines(*"import func struct class enum protocol extension let var public private fileprivate internal @".split())
    + _lines("print", "//", "/*"),
    "tcl": _lines("proc", "namespace", "package", "set", "#", "puts"),
    "typescript": (*_SCRIPT, "\ninterface", "\ntype", "\nenum", "\ndeclare", "\nconsole", "\nif", "\n//", "\n/*"),
    "verilog": _lines("module", "endmodule", "`", "//", "/*"),
    "zig": _lines("fn", "pub", "const", "var", "test", "//"),
}
_STOPS |= {"cuda": _STOPS["c++"], "objective-c++": _STOPS["objective-c"]}
"""Python's are those of Codex (arXiv:2107.03374, section 3) and of CodeParrot's evaluations."""

STOPPED = tuple(_STOPS)
"""Languages with stop texts, by name."""


def has_stops(language: str) -> bool:
    """Return whether a language, by any of its names, has stop texts."""
    return canonical(language) in _STOPS


def stops_of(language: str) -> tuple[str, ...]:
    """Return the texts before which a completion in a language, by any of its names, ends.

    Raises:
        CodeparrotError: there is no such language, or its stop texts are not known.
    """
    name = canonical(language)
    if name in _STOPS:
        return _STOPS[name]
    if name in LANGUAGES:
        title = language_named(name).title
        raise CodeparrotError(f"the stop texts of {title} are not known; --stop block needs no language")
    hint = nearest(name, STOPPED) or f"; one of {', '.join(STOPPED)}"
    raise CodeparrotError(f'the stop texts of "{language}" are not known (--stop block needs no language){hint}')

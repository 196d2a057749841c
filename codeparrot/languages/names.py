"""The languages that rules know, by name.

A name is Linguist's, in lower case with "-" for spaces: "python", "c++", "c#", "shell", "jupyter-notebook". Languages that are
not in the table keep their name and have no syntax here; rules that need syntax skip them.
"""

from typing import NamedTuple

from codeparrot.errors import CodeparrotError, nearest


class Language(NamedTuple):
    """What is known of a language without reading a file."""

    name: str
    title: str
    """As people and Linguist write it: "C++"."""
    suffixes: tuple[str, ...]
    """Endings of file names, the usual one first. Several languages may share one (`.h`)."""
    aliases: tuple[str, ...] = ()
    """Other names that users and data sets give it, in lower case."""
    grammar: str = ""
    """Its name in tree-sitter-language-pack; empty: it is never parsed."""
    kind: str = "programming"
    """programming, markup (text with structure, written by hand), or data."""
    filenames: tuple[str, ...] = ()
    """Whole names of files."""
    interpreters: tuple[str, ...] = ()
    """Programs of a `#!` line, without digits at the end."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LANGUAGES: dict[str, Language] = {
    each.name: each
    for each in (
        Language("c", "C", _words(".c .h"), grammar="c"),
        Language("c#", "C#", _words(".cs .csx"), _words("csharp c-sharp c_sharp cs"), "csharp"),
        Language("c++", "C++", _words(".cpp .cc .cxx .hpp .hh .hxx .h .ipp .tpp"), _words("cpp cxx cplusplus cuda-cpp"), "cpp"),
        Language("clojure", "Clojure", _words(".clj .cljs .cljc .edn"), ("clj",), "clojure"),
        Language("cmake", "CMake", (".cmake",), (), "cmake", filenames=("CMakeLists.txt",)),
        Language("css", "CSS", (".css",), (), "css", "markup"),
        Language("csv", "CSV", _words(".csv .tsv"), kind="data"),
        Language("dart", "Dart", (".dart",), (), "dart"),
        Language("dockerfile", "Dockerfile", (".dockerfile",), ("docker",), "dockerfile", filenames=("Dockerfile",)),
        Language("elixir", "Elixir", _words(".ex .exs"), ("ex",), "elixir", interpreters=("elixir",)),
        Language("erlang", "Erlang", _words(".erl .hrl"), (), "erlang", interpreters=("escript",)),
        Language("fortran", "Fortran", _words(".f90 .f95 .f03 .f08 .f .for"), (), "fortran"),
        Language("go", "Go", (".go",), ("golang",), "go"),
        Language("groovy", "Groovy", _words(".groovy .gradle .gvy"), (), "groovy", interpreters=("groovy",)),
        Language("haskell", "Haskell", (".hs",), ("hs",), "haskell", interpreters=("runhaskell", "stack")),
        Language("html", "HTML", _words(".html .htm .xhtml"), (), "html", "markup"),
        Language("java", "Java", (".java",), (), "java"),
        Language(
            *("javascript", "JavaScript", _words(".js .mjs .cjs .jsx"), _words("js node jsx javascriptreact"), "javascript"),
            interpreters=("node", "nodejs"),
        ),
        Language("json", "JSON", _words(".json .geojson .webmanifest"), ("jsonc",), "json", "data"),
        Language("julia", "Julia", (".jl",), ("jl",), "julia", interpreters=("julia",)),
        Language("jupyter-notebook", "Jupyter Notebook", (".ipynb",), _words("jupyter notebook ipynb"), "json"),
        Language("kotlin", "Kotlin", _words(".kt .kts"), ("kt",), "kotlin", interpreters=("kotlin",)),
        Language("lua", "Lua", (".lua",), (), "lua", interpreters=("lua", "luajit")),
        Language(
            *("makefile", "Makefile", _words(".mk .mak"), ("make",), "make"),
            filenames=_words("Makefile makefile GNUmakefile"),
            interpreters=("make",),
        ),
        Language("markdown", "Markdown", _words(".md .markdown"), ("md",), "markdown", "markup"),
        Language("matlab", "MATLAB", (".m",), ("octave",), "matlab"),
        Language("objective-c", "Objective-C", _words(".m .h"), _words("objc objectivec objective-cpp"), "objc"),
        Language("ocaml", "OCaml", _words(".ml .mli"), ("ml",), "ocaml", interpreters=("ocaml",)),
        Language("pascal", "Pascal", _words(".pas .pp .dpr .lpr"), ("delphi",), "pascal"),
        Language("perl", "Perl", _words(".pl .pm .t"), ("pl",), "perl", interpreters=("perl",)),
        Language("php", "PHP", _words(".php .phtml"), (), "php", interpreters=("php",)),
        Language("powershell", "PowerShell", _words(".ps1 .psm1 .psd1"), ("pwsh",), "powershell", interpreters=("pwsh",)),
        Language(
            *("python", "Python", _words(".py .pyi .pyw"), _words("py python3"), "python"),
            interpreters=("python", "pypy"),
        ),
        Language("r", "R", _words(".R .r"), (), "r", interpreters=("Rscript",)),
        Language("restructuredtext", "reStructuredText", (".rst",), ("rst",), "rst", "markup"),
        Language(
            *("ruby", "Ruby", _words(".rb .rake .gemspec"), ("rb",), "ruby"),
            filenames=_words("Rakefile Gemfile"),
            interpreters=("ruby", "jruby"),
        ),
        Language("rust", "Rust", (".rs",), ("rs",), "rust"),
        Language("scala", "Scala", _words(".scala .sc"), (), "scala", interpreters=("scala",)),
        Language("scss", "SCSS", (".scss",), ("sass",), "scss", "markup"),
        Language(
            *("shell", "Shell", _words(".sh .bash .zsh .ksh .bats"), _words("bash sh zsh shellscript ksh"), "bash"),
            filenames=_words(".bashrc .profile .bash_profile configure"),
            interpreters=_words("sh bash dash zsh ksh ash"),
        ),
        Language("sql", "SQL", (".sql",), (), "sql"),
        Language("svelte", "Svelte", (".svelte",), (), "svelte", "markup"),
        Language("swift", "Swift", (".swift",), (), "swift"),
        Language("tcl", "Tcl", (".tcl",), (), "tcl", interpreters=("tclsh", "wish")),
        Language("tex", "TeX", _words(".tex .sty .cls"), _words("latex plaintex"), "latex", "markup"),
        Language("toml", "TOML", (".toml",), (), "toml", "data"),
        Language("typescript", "TypeScript", _words(".ts .mts .cts .tsx"), _words("ts tsx typescriptreact"), "typescript"),
        Language("verilog", "Verilog", _words(".v .vh"), (), "verilog"),
        Language("vue", "Vue", (".vue",), (), "vue", "markup"),
        Language("xml", "XML", _words(".xml .xsd .xsl .xslt .svg .plist .csproj"), (), "xml", "data"),
        Language("yaml", "YAML", _words(".yaml .yml"), ("yml",), "yaml", "data"),
        Language("zig", "Zig", (".zig",), (), "zig"),
    )
}
"""By name, in order."""

_NAMES = {alias: each.name for each in LANGUAGES.values() for alias in (each.name, *each.aliases)}


def canonical(name: str) -> str:
    """Return the table's name of a language that somebody calls `name`; an unknown one only loses case and spaces."""
    written = name.strip().lower().replace(" ", "-").replace("_", "-")
    return _NAMES.get(written, written)


def language_named(name: str) -> Language:
    """Return the language of a name or an alias.

    Raises:
        CodeparrotError: the table has none; the message suggests the nearest.
    """
    found = LANGUAGES.get(canonical(name))
    if found is None:
        hint = nearest(canonical(name), _NAMES) or f" (known: {', '.join(LANGUAGES)})"
        raise CodeparrotError(f'there is no language "{name}"{hint}')
    return found


_BY_SUFFIX: dict[str, list[str]] = {}
for _each in LANGUAGES.values():
    for _suffix in _each.suffixes:
        _BY_SUFFIX.setdefault(_suffix.lower(), []).append(_each.name)
_BY_FILENAME = {filename: each.name for each in LANGUAGES.values() for filename in each.filenames}


def language_of_suffix(path: str) -> str:
    """Return the name of the language of a path by its end alone; empty where it tells none, or not one alone (`.h`)."""
    name = path.replace("\\", "/").rpartition("/")[2]
    if name in _BY_FILENAME:
        return _BY_FILENAME[name]
    _, dot, end = name.rpartition(".")
    found = _BY_SUFFIX.get(f".{end.lower()}", []) if dot else []
    return found[0] if len(found) == 1 else ""

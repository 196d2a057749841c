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
        Language("c#", "C#", _words(".cs .csx"), _words("csharp c-sharp cs"), "csharp"),
        Language("c++", "C++", _words(".cpp .cc .cxx .hpp .hh .hxx .h .ipp .tpp .inl .C"), _words("cpp cxx cplusplus"), "cpp"),
        Language("clojure", "Clojure", _words(".clj .cljs .cljc .edn"), ("clj",), "clojure"),
        Language("cmake", "CMake", (".cmake",), (), "cmake", filenames=("CMakeLists.txt",)),
        Language("css", "CSS", (".css",), (), "css", "markup"),
        Language("csv", "CSV", _words(".csv .tsv"), kind="data"),
        Language("dart", "Dart", (".dart",), (), "dart"),
        Language(
            *("dockerfile", "Dockerfile", (".dockerfile",), ("docker",), "dockerfile"),
            filenames=_words("Dockerfile Containerfile"),
        ),
        Language("elixir", "Elixir", _words(".ex .exs"), ("ex",), "elixir", filenames=("mix.lock",), interpreters=("elixir",)),
        Language("erlang", "Erlang", _words(".erl .hrl"), (), "erlang", filenames=("rebar.config",), interpreters=("escript",)),
        Language("fortran", "Fortran", _words(".f90 .f95 .f03 .f08 .f .for"), (), "fortran"),
        Language("go", "Go", (".go",), ("golang",), "go"),
        Language(
            "groovy",
            "Groovy",
            _words(".groovy .gradle .gvy"),
            (),
            "groovy",
            filenames=("Jenkinsfile",),
            interpreters=("groovy",),
        ),
        Language("haskell", "Haskell", (".hs",), ("hs",), "haskell", interpreters=("runhaskell", "stack")),
        Language("html", "HTML", _words(".html .htm .xhtml"), (), "html", "markup"),
        Language("java", "Java", (".java",), (), "java"),
        Language(
            *("javascript", "JavaScript", _words(".js .mjs .cjs .jsx"), _words("js node jsx javascriptreact"), "javascript"),
            filenames=("Jakefile",),
            interpreters=_words("node nodejs deno bun"),
        ),
        Language(
            *("json", "JSON", _words(".json .geojson .webmanifest .jsonl .json5"), ("jsonc",), "json", "data"),
            filenames=_words(".babelrc .eslintrc .prettierrc .jshintrc composer.lock Pipfile.lock"),
        ),
        Language("julia", "Julia", (".jl",), ("jl",), "julia", interpreters=("julia",)),
        Language("jupyter-notebook", "Jupyter Notebook", (".ipynb",), _words("jupyter notebook ipynb"), "json"),
        Language("kotlin", "Kotlin", _words(".kt .kts"), ("kt",), "kotlin", interpreters=("kotlin",)),
        Language("lua", "Lua", (".lua",), (), "lua", interpreters=("lua", "luajit")),
        Language(
            *("makefile", "Makefile", _words(".mk .mak"), ("make",), "make"),
            filenames=_words("Makefile makefile GNUmakefile Makefile.am Makefile.in Makefile.inc Kbuild"),
            interpreters=("make",),
        ),
        Language("markdown", "Markdown", _words(".md .markdown"), ("md",), "markdown", "markup"),
        Language("matlab", "MATLAB", (".m",), ("octave",), "matlab"),
        Language("objective-c", "Objective-C", _words(".m .h"), _words("objc objectivec"), "objc"),
        Language("ocaml", "OCaml", _words(".ml .mli"), ("ml",), "ocaml", interpreters=("ocaml",)),
        Language("pascal", "Pascal", _words(".pas .pp .dpr .lpr"), ("delphi",), "pascal"),
        Language(
            *("perl", "Perl", _words(".pl .pm .t"), ("pl",), "perl"),
            filenames=_words("cpanfile Makefile.PL Build.PL"),
            interpreters=("perl",),
        ),
        Language("php", "PHP", _words(".php .phtml .phpt"), (), "php", interpreters=("php",)),
        Language("powershell", "PowerShell", _words(".ps1 .psm1 .psd1"), ("pwsh",), "powershell", interpreters=("pwsh",)),
        Language(
            *("python", "Python", _words(".py .pyi .pyw"), _words("py python3"), "python"),
            filenames=_words("SConstruct SConscript wscript"),
            interpreters=("python", "pypy"),
        ),
        Language("r", "R", _words(".R .r"), (), "r", interpreters=("Rscript",)),
        Language("restructuredtext", "reStructuredText", (".rst",), ("rst",), "rst", "markup"),
        Language(
            *("ruby", "Ruby", _words(".rb .rake .gemspec"), ("rb",), "ruby"),
            filenames=_words("Rakefile Gemfile Vagrantfile Podfile Brewfile Guardfile Capfile config.ru"),
            interpreters=("ruby", "jruby"),
        ),
        Language("rust", "Rust", (".rs",), ("rs",), "rust"),
        Language("scala", "Scala", _words(".scala .sc"), (), "scala", interpreters=("scala",)),
        Language("scss", "SCSS", (".scss",), ("sass",), "scss", "markup"),
        Language(
            *(
                "shell",
                "Shell",
                _words(".sh .bash .zsh .ksh .bats"),
                _words("bash sh zsh ksh shell-script shellscript"),
                "bash",
            ),
            filenames=_words(".bashrc .profile .bash_profile .zshrc configure PKGBUILD APKBUILD"),
            interpreters=_words("sh bash dash zsh ksh ash"),
        ),
        Language("sql", "SQL", (".sql",), (), "sql"),
        Language("svelte", "Svelte", (".svelte",), (), "svelte", "markup"),
        Language("swift", "Swift", (".swift",), (), "swift"),
        Language("tcl", "Tcl", (".tcl",), (), "tcl", interpreters=("tclsh", "wish")),
        Language("tex", "TeX", _words(".tex .sty .cls .ltx .dtx"), _words("latex plaintex"), "latex", "markup"),
        Language(
            *("toml", "TOML", (".toml",), (), "toml", "data"),
            filenames=_words("Cargo.lock poetry.lock Pipfile uv.lock"),
        ),
        Language("typescript", "TypeScript", _words(".ts .mts .cts .tsx"), _words("ts tsx typescriptreact"), "typescript"),
        Language("verilog", "Verilog", _words(".v .vh"), (), "verilog"),
        Language("vue", "Vue", (".vue",), (), "vue", "markup"),
        Language(
            "xml", "XML", _words(".xml .xsd .xsl .xslt .svg .plist .csproj .ts .tsx .pom .wsdl .ui .qrc"), (), "xml", "data"
        ),
        Language("yaml", "YAML", _words(".yaml .yml"), ("yml",), "yaml", "data"),
        Language("zig", "Zig", (".zig",), (), "zig"),
        # Without syntax here: their names, and what they are told from.
        Language("ada", "Ada", _words(".adb .ads")),
        Language("assembly", "Assembly", _words(".asm .s .S .nasm"), ("asm",)),
        Language("awk", "Awk", (".awk",), interpreters=_words("awk gawk mawk nawk")),
        Language("batchfile", "Batchfile", _words(".bat .cmd"), _words("bat batch")),
        Language("coffeescript", "CoffeeScript", (".coffee",), interpreters=("coffee",)),
        Language("common-lisp", "Common Lisp", _words(".lisp .lsp .asd"), ("lisp",), interpreters=("sbcl",)),
        Language("coq", "Coq", (".v",)),
        Language("crystal", "Crystal", (".cr",), interpreters=("crystal",)),
        Language("cuda", "Cuda", _words(".cu .cuh"), ("cuda-cpp",)),
        Language("cython", "Cython", _words(".pyx .pxd .pxi")),
        Language("d", "D", (".d",)),
        Language("diff", "Diff", _words(".diff .patch"), ("patch",), kind="data"),
        Language("elm", "Elm", (".elm",)),
        Language("emacs-lisp", "Emacs Lisp", (".el",), ("elisp",), filenames=(".emacs",)),
        Language("f#", "F#", _words(".fs .fsx .fsi"), ("fsharp",)),
        Language("gdscript", "GDScript", (".gd",)),
        Language("glsl", "GLSL", _words(".glsl .vert .frag")),
        Language("graphql", "GraphQL", _words(".graphql .gql")),
        Language("handlebars", "Handlebars", _words(".hbs .handlebars"), kind="markup"),
        Language("hcl", "HCL", _words(".tf .hcl .tfvars"), ("terraform",)),
        Language("ini", "INI", _words(".ini .cfg"), kind="data", filenames=(".editorconfig", ".gitconfig")),
        Language("jinja", "Jinja", _words(".jinja .jinja2 .j2"), kind="markup"),
        Language("less", "Less", (".less",), kind="markup"),
        Language("lex", "Lex", _words(".l .lex")),
        Language("m4", "M4", (".m4",), filenames=("configure.ac",)),
        Language("meson", "Meson", (), filenames=_words("meson.build meson_options.txt")),
        Language("nim", "Nim", _words(".nim .nims")),
        Language("nix", "Nix", (".nix",)),
        Language("objective-c++", "Objective-C++", (".mm",), _words("objcpp objectivec++ objective-cpp")),
        Language("prolog", "Prolog", _words(".pl .prolog"), interpreters=("swipl",)),
        Language("protocol-buffer", "Protocol Buffer", (".proto",), _words("protobuf proto")),
        Language("puppet", "Puppet", (".pp",)),
        Language("purescript", "PureScript", (".purs",)),
        Language("qml", "QML", (".qml",)),
        Language("racket", "Racket", (".rkt",), interpreters=("racket",)),
        Language("scheme", "Scheme", _words(".scm .ss"), interpreters=_words("guile gosh")),
        Language("solidity", "Solidity", (".sol",)),
        Language("standard-ml", "Standard ML", (".sml",), ("sml",)),
        Language("starlark", "Starlark", (".bzl",), ("bazel",), filenames=_words("BUILD BUILD.bazel WORKSPACE")),
        Language("systemverilog", "SystemVerilog", _words(".sv .svh")),
        Language("thrift", "Thrift", (".thrift",)),
        Language("vala", "Vala", _words(".vala .vapi")),
        Language("vhdl", "VHDL", _words(".vhd .vhdl")),
        Language("vim-script", "Vim Script", (".vim",), _words("viml vimscript"), filenames=(".vimrc",)),
        Language("webassembly", "WebAssembly", _words(".wat .wast"), ("wasm",)),
        Language("yacc", "Yacc", _words(".y .yy")),
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

"""The language of real files: how many are told right, and how many a second, by candidates for the task.

What a file is written in is known from where it comes from, never from its name: a file of yosys that ends in `.v` is Verilog,
one of Coq's library is Coq; a header of zlib is C, one of fmt is C++. Read are this machine's packages and, if
CODEPARROT_LANGUAGES names a folder, the unpacked Debian, npm and PyPI packages below it whose names PLACES lists.

- codeparrot: `language_of(path, text)`; and of the text alone, as for a row of a table without a path.
- identify: the tags of the name or the `#!` line. It never decides between languages that share an ending: "right" if one tag
  only names a language, "among" if the right one is there.
- pygments: `guess_lexer_for_filename`.
- tree-sitter-language-pack 0.13 tells no language.
"""

import os
import random
import sysconfig
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import Ratio, report
from codeparrot.languages.detect import language_of
from codeparrot.languages.names import LANGUAGES, canonical

EACH = 300
"""Files of a language, at most."""
SHARE, RATE, NUM_LANGUAGES = 0.97, 5000, 20
MAX_BYTES = 1_048_575
STDLIB = sysconfig.get_path("stdlib")
PLACES: tuple[tuple[str, str], ...] = (
    # On this machine.
    (f"{STDLIB}/**/*.py", "python"),
    (f"{sysconfig.get_path('purelib')}/**/*.py", "python"),
    ("/usr/include/linux/**/*.h", "c"),
    ("/usr/include/c++/**/*", "c++"),
    ("/usr/share/perl/*/**/*.p[lm]", "perl"),
    ("/usr/share/cmake*/**/*.cmake", "cmake"),
    ("/usr/lib/node_modules/npm/**/*.js", "javascript"),
    ("/usr/share/java*/**/*.java", "java"),
    # Below CODEPARROT_LANGUAGES.
    *(
        ("**/zlib*/**/*.[ch]", "c"),
        ("**/lua5.4*/**/*.[ch]", "c"),
        ("**/lwt*/src/**/*.[ch]", "c"),
        ("**/gprolog*/src/**/*.[ch]", "c"),
    ),
    *(("**/fmtlib*/**/*.h", "c++"), ("**/fmtlib*/**/*.cc", "c++"), ("**/yosys*/**/*.h", "c++"), ("**/yosys*/**/*.cc", "c++")),
    *(("**/yosys*/**/*.v", "verilog"), ("**/libcoq-stdlib*/**/*.v", "coq"), ("**/gprolog*/**/*.pl", "prolog")),
    *(("**/swi-prolog*/**/*.pl", "prolog"), ("**/libmoose-perl*/**/*.pm", "perl"), ("**/libmo*-perl*/**/*.pl", "perl")),
    *(("**/libmo*-perl*/t/**/*.t", "perl"), ("**/perl-modules*/**/*.pl", "perl"), ("**/octave-*/**/*.m", "matlab")),
    *(("**/gnustep-base*/**/*.m", "objective-c"), ("**/gnustep-base*/Headers/Foundation/*.h", "objective-c")),
    *(("**/capacitor-ios*/**/*.m", "objective-c"), ("**/capacitor-ios*/**/*.swift", "swift")),
    *(("**/expo-modules-core*/**/*.swift", "swift"), ("**/expo-modules-core*/**/*.kt", "kotlin")),
    *(
        ("**/react-native-screens*/**/*.kt", "kotlin"),
        ("**/rxjs*/src/**/*.ts", "typescript"),
        ("**/types-node*/**/*.ts", "typescript"),
    ),
    *(("**/zod*/src/**/*.ts", "typescript"), ("**/react-native-screens*/src/**/*.ts*", "typescript")),
    *(("**/lodash*/**/*.js", "javascript"), ("**/express*/**/*.js", "javascript"), ("**/foundation*/js/**/*.js", "javascript")),
    *(("**/bootstrap*/**/*.scss", "scss"), ("**/foundation*/**/*.scss", "scss"), ("**/foundation*/**/*.html", "html")),
    *(("**/bootstrap*/**/*.css", "css"), ("**/vue-select*/**/*.vue", "vue"), ("**/sveltejs*/**/*.svelte", "svelte")),
    *(("**/commons-io*/**/*.java", "java"), ("**/groovy*/**/*.java", "java"), ("**/groovy*/**/*.groovy", "groovy")),
    *(("**/keepass2*/**/*.cs", "c#"), ("**/elixir-lang*/lib/**/*.ex*", "elixir"), ("**/elixir-lang*/**/*.erl", "erlang")),
    *(("**/golang-*/**/*.go", "go"), ("**/librust-*/**/*.rs", "rust"), ("**/rust-serde*/**/*.rs", "rust")),
    *(("**/haskell-aeson*/**/*.hs", "haskell"), ("**/lwt*/**/*.ml*", "ocaml"), ("**/lua-penlight*/**/*.lua", "lua")),
    *(
        ("**/php*/**/*.php", "php"),
        ("**/phpunit*/**/*.phpt", "php"),
        ("**/r-cran-*/**/*.[rR]", "r"),
        ("**/rake*/**/*.rb", "ruby"),
    ),
    *(("**/ruby-*/**/*.rb", "ruby"), ("**/rake*/**/*.rake", "ruby"), ("**/ruby-rack*/**/*.ru", "ruby")),
    *(("**/core-async-clojure*/**/*.clj*", "clojure"), ("**/tcllib*/modules/**/*.tcl", "tcl")),
    *(("**/postgresql-15-pgtap*/**/*.sql", "sql"), ("**/texlive*/**/*.cls", "tex"), ("**/texlive*/**/*.sty", "tex")),
    *(("**/texlive*/**/*.tex", "tex"), ("**/fpc-source*/**/*.p[ap]*", "pascal"), ("**/bash-completion/completions/*", "shell")),
    *(("**/ddrescueview*/**/*.pas", "pascal"), ("**/yosys*/**/*.sh", "shell"), ("**/git*/**/git-core/git-*", "")),
    *(("**/extra-cmake-modules*/**/*.cmake", "cmake"), ("**/extra-cmake-modules*/**/*.rst", "restructuredtext")),
    *(("**/*/Makefile", "makefile"), ("**/gnustep-base*/**/GNUmakefile", "makefile"), ("**/tcllib*/**/*.md", "markdown")),
)
"""Where files are from, and what they are written in."""


class File(NamedTuple):
    path: str
    text: str
    language: str


def files() -> list[File]:
    """Return at most EACH files of every language, always the same ones."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    others = os.environ.get("CODEPARROT_LANGUAGES", "")
    for pattern, language in PLACES:
        if not language or not (pattern.startswith("/") or others):
            continue
        root = Path("/") if pattern.startswith("/") else Path(others)
        for file in root.glob(pattern.lstrip("/")):
            if file.is_file() and not file.is_symlink() and 0 < file.stat().st_size <= MAX_BYTES:
                found[language][str(file)] = file
    return [each for language in sorted(found) for each in _read(language, list(found[language].values()))]


def _read(language: str, paths: list[Path]) -> Iterator[File]:
    chosen = sorted(paths)
    random.Random(0).shuffle(chosen)
    number = 0
    for file in chosen:
        try:
            text = file.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        yield File(str(file), text, language)
        number += 1
        if number == EACH:
            return


def by_identify(file: File) -> set[str]:
    from identify import identify

    tags = identify.tags_from_path(file.path)
    return {canonical(tag) for tag in tags} & LANGUAGES.keys()


def by_pygments(file: File) -> str | None:
    from pygments.lexers import guess_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        lexer = guess_lexer_for_filename(Path(file.path).name, file.text)
    except ClassNotFound:
        return None
    names = [canonical(name) for name in (lexer.name, *lexer.aliases)]
    return next((name for name in names if name in LANGUAGES), names[0])


def right(all_files: list[File], tell: Callable[[File], str | None]) -> tuple[dict[str, float], float, Counter[str]]:
    """Return the share of each language that is told right, files a second, and the mistakes."""
    good, total, wrong = Counter[str](), Counter[str](), Counter[str]()
    start = time.perf_counter()
    told = [tell(file) for file in all_files]
    seconds = time.perf_counter() - start
    for file, each in zip(all_files, told, strict=True):
        total[file.language] += 1
        good[file.language] += each == file.language
        if each != file.language:
            wrong[f"{file.language} as {each}"] += 1
    return {name: good[name] / total[name] for name in total}, len(all_files) / seconds, wrong


def hostile_seconds() -> dict[str, float]:
    """Return how long a megabyte made to delay takes, in the worst of several names."""
    texts = {
        "one line": "a" * 1_000_000,
        "brackets": "def f(" + "()" * 500_000,
        "spaces": " " * 1_000_000,
        "lines": "\n" * 1_000_000,
    }
    found = {}
    for name, text in texts.items():
        start = time.perf_counter()
        for path in ("1", "a.h", "a.m", "a.pl", "a.v", "a.pp", "a.cls", "a.ts", "a.d"):
            language_of(path, text)
        found[name] = time.perf_counter() - start
    return found


def main() -> None:
    all_files = files()
    counts = Counter(file.language for file in all_files)
    shares, rate, wrong = right(all_files, lambda file: language_of(file.path, file.text))
    bare, bare_rate, bare_wrong = right(all_files, lambda file: language_of("1", file.text))
    pygments, pygments_rate, _ = right(all_files, by_pygments)
    with tempfile.TemporaryDirectory():
        one, identify_rate, _ = right(
            all_files, lambda file: next(iter(by_identify(file)), None) if len(by_identify(file)) == 1 else None
        )
        among, _, _ = right(all_files, lambda file: file.language if file.language in by_identify(file) else None)
    print(f"{'language':<18}{'files':>6}{'codeparrot':>12}{'text alone':>12}{'identify':>10}{'among':>8}{'pygments':>10}")
    for name, count in sorted(counts.items()):
        row = (shares[name], bare[name], one[name], among[name], pygments[name])
        print(f"{name:<18}{count:>6}{row[0]:>12.1%}{row[1]:>12.1%}{row[2]:>10.1%}{row[3]:>8.1%}{row[4]:>10.1%}")
    total = sum(counts.values())
    mean = {
        name: sum(of[each] * counts[each] for each in counts) / total
        for name, of in (
            ("codeparrot", shares),
            ("the text alone", bare),
            ("identify, one language", one),
            ("identify, among", among),
            ("pygments", pygments),
        )
    }
    report(
        "Languages",
        [
            Ratio("files told right", mean["codeparrot"], SHARE, "", 1.0),
            Ratio(
                "languages of which 97% are told right", sum(each >= SHARE for each in shares.values()), NUM_LANGUAGES, "", 1.0
            ),
            Ratio("files a second, a core", rate, RATE, "files/s", 1.0),
            Ratio("files a second, without names", bare_rate, RATE, "files/s", 1.0),
        ],
        {
            "files and languages": f"{total:,} and {len(counts)}",
            **{f"told right: {name}": f"{share:.2%}" for name, share in mean.items()},
            "files a second: pygments, identify": f"{pygments_rate:,.0f}, {identify_rate:,.0f}",
            "mistakes": ", ".join(f"{name} ({count})" for name, count in wrong.most_common(12)),
            "mistakes without names": ", ".join(f"{name} ({count})" for name, count in bare_wrong.most_common(25)),
            "a megabyte made to delay, nine names": ", ".join(
                f"{name} {took:.3f} s" for name, took in hostile_seconds().items()
            ),
        },
    )


if __name__ == "__main__":
    main()
